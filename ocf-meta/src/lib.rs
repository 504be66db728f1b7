//! What a resource agent declares about itself.
