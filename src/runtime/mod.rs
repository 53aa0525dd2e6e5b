//! The only room that knows glommio and the kernel.
