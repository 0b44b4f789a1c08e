//! The instance gets another role while credd runs: what was issued before is no longer an answer. The built program,
//! over the wire.

#![cfg(test)]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

mod stage;
use stage::{Daemon, World};

// P18
#[test]
fn what_a_replaced_role_issued_is_dropped_by_a_reload_and_where_doctor_asks() {
    let world = World::start();
    let daemon = Daemon::start("role", &world, &[]);
    let first = daemon.secret();
    assert!(first.contains("BYown"), "{first}");
    assert_eq!(daemon.secret(), first, "it is kept");
    world.host.lock().unwrap().role = "other";
    daemon.reload(&world, "");
    daemon.until("a session by the new role", || daemon.secret().contains("BYother"));
    let log = fs::read_to_string(daemon.folder.join("log")).unwrap();
    assert!(log.contains("now has the role other, and no longer own"), "{log}");
    world.host.lock().unwrap().role = "third";
    let mut asked = UnixStream::connect(daemon.folder.join("status")).unwrap();
    asked.write_all(b"GET /health HTTP/1.1\r\n\r\n").unwrap();
    asked.read_to_string(&mut String::new()).unwrap();
    daemon.until("a session by the third", || daemon.secret().contains("BYthird"));
}
