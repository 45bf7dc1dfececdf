//! A suite's figures, as JSON for `cargo xtask bench` or as a table for people.

use crate::Samples;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;

/// What a figure is held to; its form in JSON is what `cargo xtask bench` judges by.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// Less than this.
    Below(f64),
    /// This or more.
    AtLeast(f64),
    /// Ours divided by the peer's is at most this.
    RatioAtMost(&'static str, f64),
}

impl Goal {
    fn to_json(self) -> Value {
        match self {
            Self::Below(limit) => json!({ "below": limit }),
            Self::AtLeast(limit) => json!({ "at_least": limit }),
            Self::RatioAtMost(peer, ratio) => json!({ "ratio_at_most": ratio, "peer": peer }),
        }
    }
}

/// One figure, ours beside the peers'.
#[derive(Clone, Debug)]
#[must_use = "a figure that is not added is in no table"]
pub struct Figure {
    id: String,
    unit: &'static str,
    higher_is_better: bool,
    ours: f64,
    peers: BTreeMap<&'static str, f64>,
    goal: Option<Goal>,
}

impl Figure {
    /// The lower, the better.
    pub fn lower(id: impl Into<String>, unit: &'static str, ours: f64) -> Self {
        Self { id: id.into(), unit, higher_is_better: false, ours, peers: BTreeMap::new(), goal: None }
    }

    /// The higher, the better.
    pub fn higher(id: impl Into<String>, unit: &'static str, ours: f64) -> Self {
        Self { higher_is_better: true, ..Self::lower(id, unit, ours) }
    }

    /// A quantile of `ours` beside that of all others; the lower, the better.
    ///
    /// # Panics
    /// When `ours` did not run.
    pub fn of(
        id: impl Into<String>,
        unit: &'static str,
        samples: &Samples,
        ours: &str,
        quantile: f64,
    ) -> Self {
        let figure = samples.quantile(ours, quantile).expect("ours ran");
        Self { peers: samples.peers(ours, quantile).collect(), ..Self::lower(id, unit, figure) }
    }

    /// With these peers' figures beside it.
    pub fn beside(self, peers: impl IntoIterator<Item = (&'static str, f64)>) -> Self {
        Self { peers: peers.into_iter().collect(), ..self }
    }

    /// The same figures, of which more is better.
    pub fn where_higher_is_better(self) -> Self {
        Self { higher_is_better: true, ..self }
    }

    /// What it is held to.
    pub fn goal(self, goal: Goal) -> Self {
        Self { goal: Some(goal), ..self }
    }

    fn to_json(&self) -> Value {
        json!({
            "id": self.id,
            "unit": self.unit,
            "better": if self.higher_is_better { "higher" } else { "lower" },
            "ours": self.ours,
            "peers": self.peers,
            "goal": self.goal.map(Goal::to_json),
        })
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<34} {:>12.3} {:<10}", self.id, self.ours, self.unit)?;
        self.peers.iter().try_for_each(|(peer, figure)| write!(f, "  {peer} {figure:.3}"))
    }
}

/// The words of the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    is_json: bool,
    /// The one part to run.
    only: Option<String>,
}

impl Arguments {
    /// Those of this process. `--bench`, which cargo adds, means nothing.
    ///
    /// # Errors
    /// A word that is not known.
    pub fn of_process() -> Result<Self, String> {
        Self::parse(std::env::args().skip(1))
    }

    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self::default();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--json" => arguments.is_json = true,
                "--only" => arguments.only = Some(words.next().ok_or("`--only` needs a part")?),
                "--bench" => {}
                _ => return Err(format!("unknown `{word}`; there are `--json` and `--only PART`")),
            }
        }
        Ok(arguments)
    }
}

/// The figures of one suite.
#[derive(Debug)]
pub struct Suite {
    name: &'static str,
    workload: String,
    arguments: Arguments,
    figures: Vec<Figure>,
    skipped: Vec<String>,
}

impl Suite {
    /// A suite without figures yet; `workload` says what is done, and how the peers' duties differ.
    #[must_use]
    pub fn new(name: &'static str, workload: impl Into<String>, arguments: Arguments) -> Self {
        Self { name, workload: workload.into(), arguments, figures: Vec::new(), skipped: Vec::new() }
    }

    /// Runs a part, unless another is the only one wanted.
    pub fn part(&mut self, name: &str, measure: fn(&mut Self)) {
        match &self.arguments.only {
            Some(only) if only != name => self.skip(format!("{name}: not asked for")),
            _ => measure(self),
        }
    }

    /// Adds a figure, and tells of it at once, on standard error.
    pub fn add(&mut self, figure: Figure) {
        eprintln!("{figure}");
        self.figures.push(figure);
    }

    /// Says what was not measured, and why.
    pub fn skip(&mut self, what: impl Into<String>) {
        self.skipped.push(what.into());
    }

    /// What the suite says on standard output: with `--json` one line for
    /// `cargo xtask bench`, otherwise a table.
    #[must_use]
    pub fn text(&self) -> String {
        if self.arguments.is_json {
            let results: Vec<Value> = self.figures.iter().map(Figure::to_json).collect();
            let suite = json!({
                "suite": self.name, "workload": self.workload, "results": results, "skipped": self.skipped,
            });
            return suite.to_string();
        }
        let figures = self.figures.iter().map(ToString::to_string);
        let skipped = self.skipped.iter().map(|skipped| format!("skipped: {skipped}"));
        figures.chain(skipped).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Race;

    fn suite(is_json: bool) -> Suite {
        let samples = Race::new().with("ours", || 2.0).with("raw", || 1.0).run();
        let mut suite = Suite::new("journal", "much", Arguments { is_json, only: Some("here".to_owned()) });
        suite.part("here", |suite| suite.skip("redb: missing"));
        suite.part("elsewhere", |_| panic!("not asked for"));
        suite.add(Figure::of("lone/p50", "us", &samples, "ours", 0.5).goal(Goal::RatioAtMost("raw", 1.3)));
        suite
    }

    #[test]
    fn the_json_is_one_line_that_can_be_judged() {
        let text = suite(true).text();
        assert_eq!(text.lines().count(), 1);
        let parsed: Value = serde_json::from_str(&text).unwrap();
        let expected = json!({ "id": "lone/p50", "unit": "us", "better": "lower", "ours": 2.0,
                               "peers": { "raw": 1.0 }, "goal": { "ratio_at_most": 1.3, "peer": "raw" } });
        assert_eq!(parsed["results"][0], expected);
        assert_eq!(parsed["skipped"], json!(["redb: missing", "elsewhere: not asked for"]));
    }

    #[test]
    fn the_table_names_figures_and_what_was_skipped() {
        let text = suite(false).text();
        assert!(text.starts_with("lone/p50") && text.contains("raw 1.000"), "{text}");
        assert!(text.ends_with("skipped: redb: missing\nskipped: elsewhere: not asked for"), "{text}");
    }

    #[test]
    fn unknown_words_are_refused() {
        let parse = |words: &[&str]| Arguments::parse(words.iter().map(|word| (*word).to_owned()));
        let known = Arguments { is_json: true, only: Some("stop".to_owned()) };
        assert_eq!(parse(&["--bench", "--json", "--only", "stop"]), Ok(known));
        assert!(parse(&["--only"]).is_err() && parse(&["--fast"]).is_err());
    }
}
