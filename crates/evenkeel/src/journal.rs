//! The durable, hash-chained sequence of everything that matters.
