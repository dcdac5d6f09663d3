//! The engine executable: settings, lifeline, socket; nothing else.
fn main() {}
