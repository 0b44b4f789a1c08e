/* Prints what this program's C library knows of the user named: with musl, what is in /etc/passwd, and what a daemon says at nscd's socket. */
#include <grp.h>
#include <pwd.h>
#include <stdio.h>

int main(int count, char **words) {
    struct passwd *user = count == 2 ? getpwnam(words[1]) : NULL;
    gid_t groups[64];
    int many = 64;
    if (!user || getgrouplist(words[1], user->pw_gid, groups, &many) < 0) {
        puts("nobody");
        return 1;
    }
    printf("%s %u %s", user->pw_name, user->pw_uid, user->pw_dir);
    for (int group = 0; group < many; group++)
        printf(" %u", groups[group]);
    puts("");
    return 0;
}
