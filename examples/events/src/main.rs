//! Starts the service, or checks it from outside with `--smoke`.

fn main() {}
