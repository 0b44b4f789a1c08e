//! Decides whether an IAM user may log in here, and makes the home.
