//! The native protocol, versions 1 and 2.
