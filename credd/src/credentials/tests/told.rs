//! What root is told on the status socket, and what not.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;

use credd_core::config::Method;

use super::host::{ALICE, Generous, Host, OneChain};
use crate::audit::{AuditEvent, Decision};
use crate::credentials::metrics::{CountedAudit, METRICS, Metrics};
use crate::credentials::status_socket::Status;
use crate::credentials::{Cache, Issuer};
use keymaker_daemon::audit::{AuditLog, NotTaken, Share};
use keymaker_daemon::status_socket;

/// What the status socket answers to one request.
async fn status(socket: &Path, request: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::UnixStream::connect(socket).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    reply
}

// P19
#[tokio::test]
async fn root_is_told_who_gets_what_and_why_and_no_secret() {
    use std::os::unix::fs::PermissionsExt;
    let host = Host::new();
    let metrics = Rc::new(Metrics::default());
    let source = Generous(host.clock.clone(), Rc::default());
    let cache = Cache::new(source, Rc::new(host.clock.clone()), Rc::clone(&metrics));
    let issuer = Issuer::new(host.people(), OneChain, cache, Rc::clone(&metrics));
    let socket = host.path("status.sock");
    tokio::task::LocalSet::new()
        .run_until(async {
            let problem = Rc::new(Cell::new(None));
            let told = Rc::clone(&problem);
            let listener = status_socket::listen(&socket).unwrap();
            assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
            let answering = Status {
                issuer,
                metrics,
                capture_problem: Box::new(move || told.get()),
                looked_at: Default::default(),
                started: Default::default(),
            };
            tokio::task::spawn_local(status_socket::serve(
                listener,
                Default::default(),
                async move |method, path| answering.answer(method, path).await,
            ));
            let issued = status(&socket, &format!("GET /why/{ALICE} HTTP/1.1\r\n\r\n")).await;
            assert!(
                issued.contains(r#""chain":["user_role"]"#)
                    && issued.contains(r#""method":"user_role""#)
                    && issued.contains("role/r"),
                "{issued}"
            );
            assert!(!issued.contains("ASIA") && !issued.contains(r#":"s""#), "{issued}");
            let denied = status(&socket, "GET /why/105 HTTP/1.1\r\n\r\n").await;
            assert!(denied.contains("this user's chain is empty"), "{denied}");
            let counted = status(&socket, "GET /metrics HTTP/1.1\r\n\r\n").await;
            assert!(counted.contains("\ncredd_issued_total 1\n"), "{counted}");
            assert!(counted.contains("\ncredd_capture_as_planned 1\n"), "{counted}");
            let health = "GET /health HTTP/1.1\r\n\r\n";
            assert!(status(&socket, health).await.starts_with("HTTP/1.1 200 "));
            problem.set(Some("capture is being repaired"));
            let ill = status(&socket, health).await;
            assert!(
                ill.starts_with("HTTP/1.1 503 ") && ill.ends_with("capture is being repaired\n"),
                "{ill}"
            );
            let counted = status(&socket, "GET /metrics HTTP/1.1\r\n\r\n").await;
            assert!(counted.contains("\ncredd_capture_as_planned 0\n"), "{counted}");
            assert!(
                status(&socket, "GET /x HTTP/1.1\r\n\r\n")
                    .await
                    .starts_with("HTTP/1.1 404 ")
            );
        })
        .await;
}

/// Keeps nothing.
struct Nowhere;

impl AuditLog<AuditEvent> for Nowhere {
    fn record(&self, _: Share, event: &AuditEvent) -> Result<(), NotTaken> {
        if event.asked == "hangs" { Err(NotTaken) } else { Ok(()) }
    }
}

#[test]
fn the_documentation_explains_every_metric_and_no_other() {
    let page = include_str!("../../../../docs/metrics.md");
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `credd_")).collect();
    let known: Vec<String> = METRICS.iter().map(|metric| metric.row()).collect();
    assert_eq!(rows, known, "docs/metrics.md should have:\n{}", known.join("\n"));
}

#[test]
fn every_decision_is_counted_by_what_was_asked_decided_and_by_which_method() {
    let metrics = Rc::new(Metrics::default());
    let audit = CountedAudit {
        log: Nowhere,
        metrics: Rc::clone(&metrics),
    };
    let line = |outcome, method| AuditEvent {
        asked: "role_list",
        outcome,
        method,
        ..AuditEvent::default()
    };
    for method in [Method::UserRole, Method::SharedRole, Method::UserRole] {
        audit
            .record(Share::Of(1), &line(Decision::Issued, Some(method)))
            .unwrap();
    }
    audit.record(Share::Of(1), &line(Decision::Refused, None)).unwrap();
    for outcome in [Decision::Issued, Decision::Refused] {
        let hangs = AuditEvent {
            asked: "hangs",
            ..line(outcome, None)
        };
        audit.record(Share::Of(1), &hangs).unwrap_err();
    }
    let text = metrics.text(0, true, Default::default());
    for metric in METRICS {
        let head = format!("# HELP {} {}\n", metric.name, metric.help);
        assert_eq!(text.matches(&head).count(), 1, "{head}");
    }
    // An issuance that nobody wrote down was none.
    assert!(
        !text.contains("asked=\"hangs\",outcome=\"issued\"") && text.contains("asked=\"hangs\",outcome=\"refused\"")
    );
    for (outcome, method, count) in [
        ("issued", "user_role", 2),
        ("issued", "shared_role", 1),
        ("refused", "", 1),
    ] {
        let wanted = format!(
            "\ncredd_decisions_total{{asked=\"role_list\",outcome=\"{outcome}\",method=\"{method}\"}} {count}\n"
        );
        assert!(text.contains(&wanted), "{wanted}{text}");
    }
}
