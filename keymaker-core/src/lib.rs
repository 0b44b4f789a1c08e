//! What two programs of Keymaker must agree on.
