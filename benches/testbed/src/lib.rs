//! Real servers and real faults for the tests and benchmarks of bilten, and its developer commands.
