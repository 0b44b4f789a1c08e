//! Remedies as they are typed on this host. They are written for Debian: elsewhere the package manager is dnf, and sshd's
//! unit has sshd's name.

use std::path::Path;

use super::install::authselect;

/// Makes sshd's drop-in anew. One that fails leaves the drop-in that is there, without which keys in a home would open a login.
pub const NEW_DROP_IN: &str = "new=$(/usr/libexec/keymaker/sshd-drop-in) && printf '%s\\n' \"$new\" > /etc/ssh/sshd_config.d/50-keymaker.conf \
     && sshd -t && systemctl reload ssh";

/// The remedy for Debian as it is here.
pub fn for_this_host(remedy: &str) -> String {
    if is_debian() {
        remedy.to_owned()
    } else {
        for_enterprise_linux(remedy)
    }
}

/// Where authselect rules, it does so as on Enterprise Linux.
fn is_debian() -> bool {
    Path::new("/usr/bin/dpkg-query").exists() && !authselect::rules()
}

fn for_enterprise_linux(remedy: &str) -> String {
    let mut remedy = remedy.replace("apt-get install -y --reinstall", "dnf reinstall -y");
    remedy = remedy.replace("apt-get install -y", "dnf install -y");
    remedy = remedy.replace("dpkg-reconfigure keymaker", "dnf reinstall -y keymaker");
    for verb in ["reload", "restart", "revert", "enable --now"] {
        remedy = remedy.replace(&format!("systemctl {verb} ssh"), &format!("systemctl {verb} sshd"));
    }
    remedy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies_for_enterprise_linux_name_what_is_there() {
        let remedy = for_enterprise_linux(
            "systemctl revert ssh; systemctl restart ssh  # the option stands on sshd's command line",
        );
        assert_eq!(
            remedy,
            "systemctl revert sshd; systemctl restart sshd  # the option stands on sshd's command line"
        );
        let remedy = for_enterprise_linux("apt-get install -y --reinstall libnss-keymaker");
        assert_eq!(remedy, "dnf reinstall -y libnss-keymaker");
        assert_eq!(
            for_enterprise_linux("dpkg-reconfigure keymaker"),
            "dnf reinstall -y keymaker"
        );
    }
}
