//! How Keymaker reaches AWS.
