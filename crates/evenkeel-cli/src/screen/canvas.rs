//! What stands on the terminal, and the bytes that change it.
//!
//! The table stands above the cursor. What is said goes above the table, which is cleared and
//! drawn again in the same write. No other sequences are sent than "up so many lines" and "clear to
//! the end", besides colours.

use crate::table::{Size, View, render};
use std::fmt::Write as _;

/// What is to be written.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Lines above the table, each with its end.
    pub(super) above: String,
    /// A new table.
    pub(super) view: Option<View>,
    /// Whether the table is the last.
    pub(super) is_last: bool,
    /// Lines below the last table.
    pub(super) below: String,
}

impl Told {
    pub(super) fn is_empty(&self) -> bool {
        self.above.is_empty() && self.view.is_none() && self.below.is_empty()
    }
}

/// Where it is to be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// `None`: no table can be shown here now.
    pub(super) size: Option<Size>,
    /// Whether others have written there since the last time.
    pub(super) is_strange: bool,
}

pub(super) struct Canvas {
    has_colour: bool,
    /// Lines of the table that stands above the cursor.
    lines: usize,
    /// The table that was told last, if there may be another.
    view: Option<View>,
}

impl Canvas {
    pub(super) fn new(has_colour: bool) -> Self {
        Self { has_colour, lines: 0, view: None }
    }

    /// What is to be written, all at once.
    pub(super) fn compose(&mut self, told: Told, place: Place) -> String {
        let mut out = String::new();
        if place.is_strange || place.size.is_none() {
            // What stands there stays.
            self.lines = 0;
        }
        let is_due = told.view.is_some() || !told.above.is_empty();
        self.view = told.view.or(self.view.take());
        let table = self.view.as_ref().zip(place.size).filter(|_| is_due);
        if table.is_some() && self.lines > 0 {
            let _ = write!(out, "\r\x1b[{}A\x1b[J", self.lines);
        }
        out.push_str(&told.above);
        if let Some((view, size)) = table {
            let table = render(view, size, self.has_colour);
            self.lines = table.matches('\n').count();
            out.push_str(&table);
        }
        out.push_str(&told.below);
        if told.is_last || !told.below.is_empty() {
            (self.lines, self.view) = (0, None);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Row;
    use std::time::Duration;

    const PLACE: Place = Place { size: Some(Size { width: 80, height: 24 }), is_strange: false };

    fn view(seconds: u64) -> Option<View> {
        let row = Row { name: "left".to_owned(), ..Row::default() };
        Some(View {
            elapsed: Duration::from_secs(seconds),
            dir: "rec".into(),
            rows: vec![row],
            ..View::default()
        })
    }

    fn told(above: &str, view: Option<View>) -> Told {
        Told { above: above.to_owned(), view, ..Told::default() }
    }

    fn table(seconds: u64) -> String {
        view(seconds).map(|view| render(&view, Size { width: 80, height: 24 }, false)).unwrap_or_default()
    }

    // REQ M5
    #[test]
    fn a_table_takes_the_place_of_the_last_and_lines_stay_above_it() {
        let mut canvas = Canvas::new(false);
        assert_eq!(canvas.compose(told("begun\n", None), PLACE), "begun\n");
        assert_eq!(canvas.compose(told("", view(1)), PLACE), table(1));
        assert_eq!(canvas.compose(told("", view(2)), PLACE), format!("\r\x1b[4A\x1b[J{}", table(2)));
        let with_line = format!("\r\x1b[4A\x1b[Jit broke\n{}", table(2));
        assert_eq!(canvas.compose(told("it broke\n", None), PLACE), with_line);
    }

    // REQ M5
    #[test]
    fn the_last_table_stays_and_lines_follow_below() {
        let mut canvas = Canvas::new(false);
        canvas.compose(told("", view(1)), PLACE);
        let last = Told { is_last: true, below: "stopping\n".to_owned(), ..told("", view(2)) };
        assert_eq!(canvas.compose(last, PLACE), format!("\r\x1b[4A\x1b[J{}stopping\n", table(2)));
        let more = Told { below: "sealed\n".to_owned(), ..Told::default() };
        assert_eq!(canvas.compose(more, PLACE), "sealed\n");

        let mut canvas = Canvas::new(false);
        canvas.compose(told("", view(1)), PLACE);
        let last = Told { is_last: true, below: "stopping\n".to_owned(), ..Told::default() };
        assert_eq!(canvas.compose(last, PLACE), "stopping\n");
    }

    // REQ M5
    #[test]
    fn in_the_background_nothing_of_others_is_cleared() {
        let mut canvas = Canvas::new(false);
        canvas.compose(told("", view(1)), PLACE);
        let background = Place { size: None, is_strange: false };
        assert_eq!(canvas.compose(told("", view(2)), background), "");
        assert_eq!(canvas.compose(told("it broke\n", None), background), "it broke\n");
        assert_eq!(canvas.compose(told("", view(3)), PLACE), table(3));
        let strange = Place { is_strange: true, ..PLACE };
        assert_eq!(canvas.compose(told("", view(4)), strange), table(4));
    }
}
