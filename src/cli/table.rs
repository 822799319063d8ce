//! Tables: wrapped to the terminal on a terminal, tab-separated with a header elsewhere.

use comfy_table::{ContentArrangement, Table as Drawing, presets};

use super::sanitize;

/// Rows under a header.
#[derive(Debug, Clone)]
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Makes an empty table.
    pub fn new<'h>(header: impl IntoIterator<Item = &'h str>) -> Self {
        Self {
            header: header.into_iter().map(str::to_owned).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row. Cells may hold any text: what could break the table or the terminal is escaped.
    pub fn row<T: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = T>) {
        let row = cells
            .into_iter()
            .map(|cell| sanitize::one_line(cell.as_ref()).into_owned())
            .collect();
        self.rows.push(row);
    }

    /// Returns the table as text for a terminal `width` columns wide.
    pub fn drawn(&self, width: u16) -> String {
        let mut drawing = Drawing::new();
        drawing
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(width)
            .set_header(&self.header);
        for row in &self.rows {
            drawing.add_row(
                row.iter()
                    .map(|cell| if cell.is_empty() { "-" } else { cell }),
            );
        }
        for column in drawing.column_iter_mut() {
            column.set_padding((0, 2));
        }
        let mut text = drawing.trim_fmt();
        text.push('\n');
        text
    }

    /// Returns the table as tab-separated lines, the header first.
    pub fn tab_separated(&self) -> String {
        std::iter::once(&self.header)
            .chain(&self.rows)
            .map(|row| row.join("\t") + "\n")
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["NAME", "DETAILS"]);
        table.row(["web1", "ready"]);
        table.row(["db\t1", "two\nlines \u{1b}[2J"]);
        table.row(["x", ""]);
        table
    }

    #[test]
    fn pipes_get_one_row_per_line() {
        assert_eq!(
            table().tab_separated(),
            "NAME\tDETAILS\nweb1\tready\ndb\\t1\ttwo\\nlines ^[[2J\nx\t\n"
        );
    }

    #[test]
    fn a_narrow_terminal_wraps() {
        let mut table = Table::new(["NAME", "DETAILS"]);
        table.row(["web1", "a long story about what went wrong there"]);
        let drawn = table.drawn(24);
        assert!(drawn.lines().count() > 2, "{drawn}");
        assert!(
            drawn.lines().all(|line| line.chars().count() <= 24),
            "{drawn}"
        );
        assert!(table.drawn(200).lines().count() == 2);
    }
}
