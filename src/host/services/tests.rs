//! Services with fast pauses and without a coordinator.
