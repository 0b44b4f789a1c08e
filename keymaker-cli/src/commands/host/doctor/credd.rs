//! credd, where it is turned on: its settings, its units, the rules that bring requests to it, its answers.

use std::path::Path;

use super::super::probe::{credd, run};
use super::Findings;

/// Looks at it.
pub fn look(found: &mut Findings) {
    if !Path::new(credd::CAPTURE).exists() {
        return;
    }
    let state = |what: &str, unit: &str| run("systemctl", &[what, unit]).unwrap_or_else(|why| why);
    // credd.service is started by its socket; systemd calls that indirect.
    let off = |unit: &str| !["enabled", "indirect"].contains(&state("is-enabled", unit).as_str());
    if credd::UNITS.iter().all(|unit| *unit == credd::SERVICE || off(unit)) {
        return found.note("credd is installed and not turned on: everybody gets what the metadata service gives (keymaker capture up)");
    }
    let capture = run(credd::CAPTURE, &["check"]);
    if let Err(why) = run(credd::PROGRAM, &["--check"]) {
        // Where the guard is gone, AWS cannot be reached either.
        if let Err(why) = capture {
            capture_is_not_as_planned(&why, found);
        }
        let why_it_matters =
            "it goes on with the settings from before, or does not start: then nobody gets credentials";
        let remedy = format!("editor {}; systemctl restart credd", credd::SETTINGS);
        return found.fault(
            format!("credd does not accept its settings: {why}"),
            why_it_matters,
            remedy,
        );
    }
    if run(credd::PROGRAM, &["--print-config"]).is_ok_and(|config| config.contains("\"create_user_role\"")) {
        found.note(
            "create_user_role gives out a role only with the tag keymaker:user-id; run 'keymaker sync-roles', also before an upgrade from \
             a version that did not ask for it",
        );
    }
    for unit in credd::UNITS.into_iter().filter(|unit| off(unit)) {
        found.fault(
            format!("{unit} is not enabled ({})", state("is-enabled", unit)),
            "at the next boot users get no credentials, or those of the instance",
            format!("systemctl unmask {unit}; systemctl enable --now {unit}"),
        );
    }
    for unit in credd::UNITS {
        let now = state("is-active", unit);
        // A request starts credd.service.
        if now == "active" || (unit == credd::SERVICE && now == "inactive") {
            continue;
        }
        let why = match unit {
            "credd-capture.service" => "nobody puts the rules up again that others take down",
            _ => "no user gets credentials",
        };
        let remedy = format!("systemctl reset-failed {unit}; systemctl restart {unit}");
        found.fault(format!("{unit} does not run ({now})"), why, remedy);
    }
    if let Err(why) = capture {
        capture_is_not_as_planned(&why, found);
    }
    if state("is-active", credd::SERVICE) == "active"
        && let Err(why) = credd::ask("/health")
    {
        let remedy = "systemctl restart credd.service";
        found.fault(
            format!("credd does not answer: {why}"),
            "no user gets credentials",
            remedy,
        );
    }
}

fn capture_is_not_as_planned(why: &str, found: &mut Findings) {
    found.fault(
        format!("capture is not as planned: {}", why.replace("credd-capture: ", "")),
        "users may reach the instance's own credentials, or none",
        "systemctl restart credd-capture.service; /usr/libexec/keymaker/credd-capture check",
    );
}
