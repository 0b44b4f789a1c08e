//! docs/audit.md against the code: every event, decision, reason and field, with its meaning, and which event tells
//! what. `KEYMAKER_WRITE_AUDIT=1` writes the tables.

#![cfg(test)]

use keymaker_core::audit::{AuditDecision, AuditEvent, AuditField, AuditReason};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/audit.md");

#[test]
fn the_tables_in_the_documentation_are_the_schema_in_the_source() {
    let page = std::fs::read_to_string(PATH).unwrap();
    let mut right = page.clone();
    for (name, table) in [
        ("events", events()),
        (
            "fields",
            words(AuditField::ALL.iter().map(|field| (field.word(), field.meaning()))),
        ),
        (
            "decisions",
            words(AuditDecision::ALL.iter().map(|word| (word.word(), word.meaning()))),
        ),
        (
            "reasons",
            words(AuditReason::ALL.iter().map(|word| (word.word(), word.meaning()))),
        ),
    ] {
        let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
        let (before, rest) = right.split_once(&begin).expect(&begin);
        let (_, after) = rest.split_once(&end).expect(&end);
        right = format!("{before}{begin}{table}{end}{after}");
    }
    if std::env::var_os("KEYMAKER_WRITE_AUDIT").is_some() {
        std::fs::write(PATH, &right).unwrap();
    }
    assert!(
        page == right,
        "docs/audit.md is not the schema: KEYMAKER_WRITE_AUDIT=1 cargo test -p keymaker-core"
    );
}

#[test]
fn every_decision_and_field_belongs_to_an_event_and_no_field_has_the_name_of_a_trusted_one() {
    for decision in AuditDecision::ALL {
        assert!(
            AuditEvent::ALL.iter().any(|event| event.decisions().contains(decision)),
            "{decision}"
        );
    }
    let of_all = [AuditField::Event, AuditField::Decision, AuditField::Unwritten];
    for field in AuditField::ALL {
        let told = AuditEvent::ALL.iter().any(|event| event.fields().contains(field));
        assert!(told != of_all.contains(field), "{field}");
        let name = field.word();
        // journald drops an entry's field of another form, and only its own begin with an underscore.
        assert!(
            name.strip_prefix("KEYMAKER_").is_some_and(|rest| !rest.is_empty()),
            "{name}"
        );
        assert!(
            name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'),
            "{name}"
        );
    }
}

fn events() -> String {
    let mut table = "| `KEYMAKER_EVENT` | what it is | decisions | fields |\n|---|---|---|---|\n".to_owned();
    for event in AuditEvent::ALL {
        let decisions: Vec<&str> = event.decisions().iter().map(|decision| decision.word()).collect();
        let fields = event
            .fields()
            .iter()
            .filter_map(|field| field.word().strip_prefix("KEYMAKER_"));
        let fields: Vec<&str> = fields.collect();
        table += &format!(
            "| `{event}` | {} | {} | {} |\n",
            event.meaning(),
            decisions.join(", "),
            fields.join(", ")
        );
    }
    table
}

fn words(words: impl Iterator<Item = (&'static str, &'static str)>) -> String {
    let rows = words.map(|(word, meaning)| format!("| `{word}` | {meaning} |\n"));
    format!("| word | meaning |\n|---|---|\n{}", rows.collect::<String>())
}
