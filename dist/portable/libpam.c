// What pam_keymaker and pam-account call of libpam, as names to link with; they run with the host's own libpam. So the build takes no library
// of the machine that it runs on, and a processor's is not needed to link for it. dist/build compiles it with libpam.map.
void pam_get_data(void) {}
void pam_set_data(void) {}
void pam_get_item(void) {}
void pam_set_item(void) {}
void pam_get_user(void) {}
void pam_getenv(void) {}
void pam_syslog(void) {}
void pam_start(void) {}
void pam_acct_mgmt(void) {}
void pam_strerror(void) {}
void pam_end(void) {}
