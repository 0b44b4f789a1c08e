//! What systemd would read in the same folders.

use super::*;
use test_folder::TestFolder;

struct Root(TestFolder);

impl Root {
    fn new() -> Self {
        Self(TestFolder::new())
    }

    fn folders(&self) -> ServiceFolders {
        let of = |names: [&str; 3]| names.iter().map(|name| self.0.join(name)).collect();
        ServiceFolders {
            sysusers: of(["etc/sysusers.d", "run/sysusers.d", "usr/sysusers.d"]),
            units: of(["etc/system", "run/system", "usr/system"]),
        }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
    }

    fn names(&self) -> Vec<String> {
        let names = ServiceNames::read(&self.folders());
        assert!(names.unreadable.is_empty());
        names.wanted.into_keys().collect()
    }
}

// P1
#[test]
fn sysusers_lines_want_the_users_and_groups_that_they_make() {
    let root = Root::new();
    root.write(
        "usr/sysusers.d/a.conf",
        "# u comment -\n\nu  acme  -  \"Acme daemon\" / -\nu! locked 123\ng gpio2 -\nm acme2 spi2\nu \"quoted\" 5:ingroup \"x y\"\nr - 500-900\nu tab\t-\nx other -\nu\n",
    );
    assert_eq!(
        root.names(),
        ["acme", "acme2", "gpio2", "ingroup", "locked", "quoted", "spi2", "tab"]
    );
    let names = ServiceNames::read(&root.folders());
    let source = names.wanting("acme").unwrap().to_string();
    assert!(source.ends_with("usr/sysusers.d/a.conf:3"), "{source}");
}

#[test]
fn of_two_sysusers_files_with_one_name_the_first_folders_counts_and_dev_null_masks() {
    let root = Root::new();
    root.write("usr/sysusers.d/a.conf", "u vendor -\n");
    root.write("run/sysusers.d/a.conf", "u runtime -\n");
    root.write("usr/sysusers.d/b.conf", "u masked -\n");
    root.link("etc/sysusers.d/b.conf", "/dev/null");
    root.write("usr/sysusers.d/c.conf", "u emptied -\n");
    root.write("etc/sysusers.d/c.conf", "");
    root.write("usr/sysusers.d/readme", "u readme -\n");
    root.link("usr/sysusers.d/dangling.conf", "/nonexistent/x.conf");
    assert_eq!(root.names(), ["runtime"]);
}

// P1
#[test]
fn a_unit_with_dynamic_user_wants_its_users_name_and_no_other_unit_wants_any() {
    let root = Root::new();
    let unit = |lines: &str| format!("[Unit]\nUser=nowhere\n[Service]\n{lines}\n[Install]\nUser=nowhere2\n");
    for (file, lines) in [
        ("alice.service", "User=bob"),
        ("plain.service", "ExecStart=/bin/true"),
        ("acmed.service", "DynamicUser=yes"),
        ("two.service", "DynamicUser = on\nUser= runner \nGroup=runners"),
        ("templ@.service", "DynamicUser=1"),
        ("inst@one.service", "DynamicUser=TRUE\nUser=%p-user"),
        ("each@.service", "DynamicUser=yes\nUser=%i"),
        ("off.service", "DynamicUser=yes\nDynamicUser=no"),
        ("reset.service", "DynamicUser=yes\nUser=gone\nUser="),
        ("cont.service", "DynamicUser=\\\n# a comment\n  yes\nUser=continued"),
        ("sock.timer", "DynamicUser=yes"),
    ] {
        root.write(&format!("usr/system/{file}"), &unit(lines));
    }
    root.write("usr/system/listen.socket", "[Socket]\nDynamicUser=yes\n");
    root.write("usr/system/wrong.service", "[Unit]\nDynamicUser=yes\n");
    assert_eq!(
        root.names(),
        [
            "acmed",
            "continued",
            "inst-user",
            "listen",
            "reset",
            "runner",
            "runners",
            "templ"
        ]
    );
}

#[test]
fn drop_ins_count_as_systemd_merges_them() {
    let root = Root::new();
    for unit in [
        "a.service",
        "b.service",
        "c-d.service",
        "e@.service",
        "m.service",
        "n.service",
    ] {
        root.write(&format!("usr/system/{unit}"), "[Service]\nExecStart=/bin/true\n");
    }
    let dynamic = "[Service]\nDynamicUser=yes\n";
    root.write("etc/system/a.service.d/10.conf", dynamic);
    root.write("usr/system/a.service.d/20.conf", "[Service]\nUser=first\n");
    root.write("run/system/a.service.d/30.conf", "[Service]\nUser=last\n");
    // The same name in an earlier folder takes its place.
    root.write("usr/system/b.service.d/10.conf", dynamic);
    root.write("etc/system/b.service.d/10.conf", "[Service]\n");
    root.write("usr/system/c-.service.d/10.conf", dynamic);
    root.write("usr/system/e@.service.d/10.conf", dynamic);
    root.write("usr/system/m.service.d/10.conf", dynamic);
    root.link("etc/system/m.service", "/dev/null");
    root.write("usr/system/x.service.d/10.conf", dynamic);
    assert_eq!(root.names(), ["c-d", "e", "last"]);
    root.write("etc/system/service.d/20.conf", dynamic);
    assert_eq!(
        root.names(),
        ["b", "c-d", "e", "last", "n"],
        "for a whole kind of units"
    );
}

// P3
#[test]
fn what_cannot_be_read_goes_on_wanting_what_it_wanted() {
    let root = Root::new();
    root.write("usr/sysusers.d/a.conf", "u acme -\n");
    root.write("usr/sysusers.d/b.conf", "u gone -\n");
    let before = ServiceNames::read(&root.folders());
    fs::remove_file(root.0.join("usr/sysusers.d/a.conf")).unwrap();
    fs::remove_file(root.0.join("usr/sysusers.d/b.conf")).unwrap();
    // ELOOP, which root gets too.
    root.link("usr/sysusers.d/a.conf", "a.conf");
    let mut now = ServiceNames::read(&root.folders());
    assert_eq!(now.unreadable, [root.0.join("usr/sysusers.d/a.conf")]);
    now.keep_unreadable(&before);
    assert!(now.wanting("acme").is_some() && now.wanting("gone").is_none());
}
