//! Gives every user of this host their own AWS credentials at the metadata address.

fn main() {}
