//! docs/metrics.md against the code.

use super::METRICS;

const PAGE: &str = include_str!("../../../docs/metrics.md");

#[test]
fn the_documentation_explains_every_metric_and_no_other() {
    let rows: Vec<&str> = PAGE.lines().filter(|line| line.starts_with("| `keymakerd_")).collect();
    let known: Vec<String> = METRICS.iter().map(|metric| metric.row()).collect();
    assert_eq!(rows, known, "docs/metrics.md should have:\n{}", known.join("\n"));
}
