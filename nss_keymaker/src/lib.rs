//! Answers glibc's passwd, group and initgroups questions from Keymaker's directory.
