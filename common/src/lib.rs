//! The frame every agent runs in, and the host it looks at.
