//! A machine as text, and a change as text after it: text again. Numbers are looked at, names are not; whether a
//! table allows them is asked when the machine is restored.

use super::{SavedChange, SavedStep, Snapshot, State, Table};

impl Snapshot {
    /// A machine that is there after so many changes, with no way back.
    pub fn at<S: State>(table: &Table<S>, sequence: u64, state: S) -> Self {
        Self {
            table: table.name().to_owned(),
            version: table.version(),
            fingerprint: format!("{:016x}", table.fingerprint()),
            sequence,
            state: state.name().to_owned(),
            points_max: 1,
            oldest: sequence,
            oldest_state: state.name().to_owned(),
            steps: Vec::new(),
        }
    }

    /// Takes the next change in.
    ///
    /// # Errors
    /// What does not follow; nothing is taken in then.
    pub fn apply(&mut self, change: &SavedChange) -> Result<(), String> {
        let SavedChange { sequence, from, to, back_to, .. } = change;
        if self.sequence.checked_add(1) != Some(*sequence) || *from != self.state {
            return Err(format!(
                "change {sequence} from {from} does not follow {} at change {}",
                self.state, self.sequence
            ));
        }
        let mut step =
            SavedStep { sequence: *sequence, from: from.clone(), to: to.clone(), is_rollback: false };
        if let Some(point) = back_to {
            let remaining = self.find(*point).ok_or_else(|| {
                format!("change {sequence} leads back to change {point}, which is no point")
            })?;
            self.steps.truncate(remaining);
            (step.from, step.is_rollback) = (to.clone(), true);
        }
        self.push(step);
        (self.sequence, self.state) = (*sequence, to.clone());
        Ok(())
    }

    /// How many steps remain up to a point.
    fn find(&self, point: u64) -> Option<usize> {
        if point == self.oldest {
            return Some(0);
        }
        self.steps.binary_search_by_key(&point, |step| step.sequence).ok().map(|at| at + 1)
    }

    fn push(&mut self, step: SavedStep) {
        if self.steps.len() >= self.points_max.max(1) {
            let oldest = self.steps.remove(0);
            (self.oldest, self.oldest_state) = (oldest.sequence, oldest.to);
        }
        self.steps.push(step);
    }
}
