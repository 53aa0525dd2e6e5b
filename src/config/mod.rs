//! What the operator said, and what we run on.
