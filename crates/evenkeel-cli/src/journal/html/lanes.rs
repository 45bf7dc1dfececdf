//! The timeline as a drawing: a lane for each place, time from left to right.

use super::{escaped, look};
use crate::journal::timeline::duration;
use evenkeel::recovery_log::{Incident, Moment, Role};
use std::fmt::Write as _;
use std::time::Duration;

/// Lanes that are drawn; what happened elsewhere is in the last.
const LANES_MAX: usize = 24;
const ELSEWHERE: &str = "elsewhere";
const WIDTH: f64 = 960.0;
const LEFT: f64 = 170.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 34.0;
const LANE: f64 = 40.0;
const GAP: f64 = 6.0;
/// Letters of a place that fit before its lane.
const NAME_MAX: usize = 24;
/// Marks on the axis, about.
const TICKS: f64 = 6.0;

/// What is drawn, and where on the axis of time.
struct Drawing<'a> {
    moments: Vec<&'a Moment>,
    lanes: Vec<String>,
    began_ns: u64,
    span_ns: u64,
    is_public: bool,
}

/// Draws the incident, if its entries say when they were.
pub(super) fn draw(page: &mut String, incident: &Incident, is_public: bool) {
    let moments: Vec<&Moment> = incident.moments.iter().filter(|moment| moment.unix_ns > 0).collect();
    let Some(first) = moments.first() else { return };
    let last_ns = moments.iter().map(|moment| moment.unix_ns).max().unwrap_or(0);
    let mut lanes: Vec<String> = Vec::new();
    for moment in &moments {
        let place = moment.place();
        if !lanes.contains(&place) && lanes.len() < LANES_MAX - 1 {
            lanes.push(place);
        }
    }
    if moments.iter().any(|moment| !lanes.contains(&moment.place())) {
        lanes.push(ELSEWHERE.to_owned());
    }
    let span_ns = last_ns.saturating_sub(first.unix_ns).max(1);
    let drawing = Drawing { began_ns: first.unix_ns, moments, lanes, span_ns, is_public };
    drawing.draw(page, incident);
}

impl Drawing<'_> {
    fn draw(&self, page: &mut String, incident: &Incident) {
        let height = TOP + self.lanes.len() as f64 * (LANE + GAP) + 10.0;
        let label = escaped(&incident.headline());
        let _ = writeln!(
            page,
            "<figure>\n<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{label}\">"
        );
        self.axis(page, height);
        for at in 0..self.lanes.len() {
            self.lane(page, at);
        }
        for moment in &self.moments {
            self.mark(page, moment);
        }
        page.push_str(
            "</svg>\n<figcaption>Each lane is a component or a channel; time goes from left to right, from the first \
             fault on. Diamonds are faults, triangles measures, circles recoveries, squares changes of state. \
             A lane is red from its first fault until it works again.</figcaption>\n</figure>\n",
        );
    }

    fn x(&self, unix_ns: u64) -> f64 {
        let share = unix_ns.saturating_sub(self.began_ns) as f64 / self.span_ns as f64;
        LEFT + share.min(1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, place: &str) -> f64 {
        let at = self.lanes.iter().position(|lane| lane == place).unwrap_or(self.lanes.len() - 1);
        TOP + at as f64 * (LANE + GAP)
    }

    fn axis(&self, page: &mut String, height: f64) {
        let step_ns = step(self.span_ns);
        let mut after_ns = 0;
        while after_ns <= self.span_ns {
            let x = self.x(self.began_ns + after_ns);
            let label = if after_ns == 0 {
                "0".to_owned()
            } else {
                format!("+{}", duration(Duration::from_nanos(after_ns)))
            };
            let _ = writeln!(
                page,
                "<line class=\"grid\" x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{height:.1}\"/>\
                 <text class=\"soft\" x=\"{x:.1}\" y=\"14\" text-anchor=\"middle\">{label}</text>",
                TOP - 12.0
            );
            after_ns = after_ns.saturating_add(step_ns);
        }
    }

    /// A lane, red while what is in it does not work.
    fn lane(&self, page: &mut String, at: usize) {
        let (name, y) = (&self.lanes[at], TOP + at as f64 * (LANE + GAP));
        let cut: String = name.chars().take(NAME_MAX).collect();
        let _ = writeln!(
            page,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <rect class=\"lane\" x=\"{LEFT}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{LANE}\" rx=\"4\"/>",
            LEFT - 10.0,
            y + LANE / 2.0 + 4.0,
            escaped(&cut),
            WIDTH - LEFT - RIGHT
        );
        let mut ill_since = None;
        for moment in self.moments.iter().filter(|moment| self.y(&moment.place()) == y) {
            match moment.role {
                Role::Fault => ill_since = ill_since.or(Some(moment.unix_ns)),
                Role::State | Role::Recovery if works_again(moment) => {
                    if let Some(since) = ill_since.take() {
                        self.band(page, y, since, moment.unix_ns);
                    }
                }
                _ => {}
            }
        }
        if let Some(since) = ill_since {
            self.band(page, y, since, self.began_ns + self.span_ns);
        }
    }

    fn band(&self, page: &mut String, y: f64, from_ns: u64, to_ns: u64) {
        let (from, to) = (self.x(from_ns), self.x(to_ns));
        let _ = writeln!(
            page,
            "<rect class=\"ill\" x=\"{from:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{LANE}\" rx=\"4\"/>",
            (to - from).max(2.0)
        );
    }

    /// A mark, whose title says what it is.
    fn mark(&self, page: &mut String, moment: &Moment) {
        // What often happens at once stands above each other.
        let height = match moment.role {
            Role::Fault => 0.27,
            Role::Measure | Role::Recovery => 0.73,
            _ => 0.5,
        };
        let (x, y) = (self.x(moment.unix_ns), self.y(&moment.place()) + LANE * height);
        let after = duration(Duration::from_nanos(moment.unix_ns.saturating_sub(self.began_ns)));
        let words = if self.is_public { &moment.public } else { &moment.text };
        let title = format!("+{after}, entry {}: {}", moment.entry, escaped(words));
        let shape = match moment.role {
            Role::Fault => format!("<path d=\"M{x:.1} {:.1}l7 7l-7 7l-7 -7z\"", y - 7.0),
            Role::Measure => format!("<path d=\"M{x:.1} {:.1}l7 12h-14z\"", y - 7.0),
            Role::Recovery => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"6\""),
            Role::State => {
                format!("<rect x=\"{:.1}\" y=\"{:.1}\" width=\"10\" height=\"10\" rx=\"2\"", x - 5.0, y - 5.0)
            }
            _ => format!("<rect x=\"{:.1}\" y=\"{:.1}\" width=\"2\" height=\"14\"", x - 1.0, y - 7.0),
        };
        let _ = writeln!(
            page,
            "{shape} class=\"{}\"><title>{title}</title>{}",
            look(moment.role),
            end_of(&shape)
        );
    }
}

/// Whether what a lane is about works as of this moment.
fn works_again(moment: &Moment) -> bool {
    match moment.kind.as_str() {
        "state" => moment.public.ends_with("-> Running"),
        "recovery" => moment.public.contains(" done"),
        _ => true,
    }
}

/// What closes a shape.
fn end_of(shape: &str) -> &'static str {
    match shape.as_bytes().get(1) {
        Some(b'p') => "</path>",
        Some(b'c') => "</circle>",
        _ => "</rect>",
    }
}

/// A round step of the axis, in nanoseconds.
fn step(span_ns: u64) -> u64 {
    let rough = (span_ns as f64 / TICKS).max(1.0);
    let unit = 10f64.powf(rough.log10().floor());
    let round = [1.0, 2.0, 5.0, 10.0].into_iter().find(|times| unit * times >= rough).unwrap_or(10.0);
    ((unit * round) as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::step;

    #[test]
    fn steps_of_the_axis_are_round_and_few() {
        for (span, expected) in
            [(1, 1), (10, 2), (1_000_000_000, 200_000_000), (7_000_000_000, 2_000_000_000)]
        {
            assert_eq!(step(span), expected);
        }
        let mut span = 1u64;
        while span < u64::MAX / 3 {
            assert!(span / step(span) <= 12, "{span}");
            span = span * 3 + 1;
        }
    }
}
