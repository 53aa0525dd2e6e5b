//! Health, metrics, admin: text in, text out.
