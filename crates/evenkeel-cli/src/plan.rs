//! `evenkeel plan`: the stop before it happens.

use crate::args::Plan;
use crate::config::Settings;
use crate::{exit, text};
use evenkeel::cleanup::PlanPicture;
use serde::Serialize;
use std::io::Write;

/// Steps of a stop that run at once.
pub(crate) const CONCURRENCY_MAX: usize = 16;

pub(crate) fn run(arguments: &Plan) -> u8 {
    let settings = match Settings::of(&arguments.what) {
        Ok(settings) => settings,
        Err(wrong) => {
            text::complain(&wrong.to_string());
            return exit::USAGE;
        }
    };
    let steps = evenkeel_recorder::specs(&settings.channels);
    let plan = match evenkeel::plan_of(steps, true, settings.grace, CONCURRENCY_MAX) {
        Ok(plan) => plan,
        Err(wrong) => {
            text::complain(&wrong.to_string());
            return exit::USAGE;
        }
    };
    let picture = Picture { plan: PlanPicture::of(&plan), strict: settings.strict };
    let printed = match arguments.format.as_str() {
        "json" => text::print_json(&picture),
        "mermaid" => std::io::stdout().write_all(picture.plan.mermaid().as_bytes()),
        _ => std::io::stdout().write_all(picture.text().as_bytes()),
    };
    match printed {
        // Whoever reads has seen enough.
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => exit::CANNOT,
        _ => exit::OK,
    }
}

/// The stop, and what its exit code says besides.
#[derive(Serialize)]
struct Picture {
    #[serde(flatten)]
    plan: PlanPicture,
    /// Whether a drop makes the exit code 1.
    strict: bool,
}

impl Picture {
    fn text(&self) -> String {
        let strict = if self.strict { "what is dropped makes the exit code 1 (--strict)\n" } else { "" };
        format!("{}{strict}", self.plan)
    }
}
