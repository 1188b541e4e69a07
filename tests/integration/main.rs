//! The operator against a real API server, as its own ServiceAccount with the chart's rights.

mod guide;
mod kill;
mod quiet;
mod refusals;
