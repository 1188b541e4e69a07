//! The operator against a real API server, as its own ServiceAccount with the chart's rights.

mod adopt;
mod alerts;
mod broken;
mod check;
mod clock;
mod drift;
mod generate;
mod guide;
mod helm;
mod kill;
mod kill_rotation;
mod logs;
mod metrics;
mod ownership;
mod partition;
mod plugin;
mod plugin_plan;
mod pods;
mod quiet;
mod refusals;
mod rights;
mod standby;
mod status;
mod tickets;
mod troubleshooting;
mod windows;
