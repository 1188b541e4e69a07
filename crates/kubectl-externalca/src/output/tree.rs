//! A tree of lines.

/// A line, and what hangs from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    text: String,
    children: Vec<Node>,
}

impl Node {
    /// A line with nothing below it.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            children: Vec::new(),
        }
    }

    /// The same with these below it.
    pub fn with(mut self, children: impl IntoIterator<Item = Self>) -> Self {
        self.children.extend(children);
        self
    }

    /// The whole tree, a line each.
    pub fn render(&self) -> String {
        let mut text = format!("{}\n", self.text);
        self.below("", &mut text);
        text
    }

    fn below(&self, indent: &str, text: &mut String) {
        let last = self.children.len().saturating_sub(1);
        for (index, child) in self.children.iter().enumerate() {
            let (branch, more) = if index == last {
                ("└─ ", "   ")
            } else {
                ("├─ ", "│  ")
            };
            text.push_str(&format!("{indent}{branch}{}\n", child.text));
            child.below(&format!("{indent}{more}"), text);
        }
    }
}

/// Rows with their columns below each other, two spaces between; the last column is as long as it is.
pub fn aligned<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths);
        let line: String = cells
            .filter(|(_, width)| **width > 0)
            .map(|(cell, width)| format!("{cell:width$}  "))
            .collect();
        line.trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_end_where_their_children_do() {
        let tree = Node::new("a").with([
            Node::new("b").with([Node::new("c")]),
            Node::new("d").with([Node::new("e"), Node::new("f")]),
        ]);
        let lines = ["a", "├─ b", "│  └─ c", "└─ d", "   ├─ e", "   └─ f", ""];
        assert_eq!(tree.render(), lines.join("\n"));
    }

    #[test]
    fn columns_stand_below_each_other_and_empty_ones_take_no_room() {
        let rows = [["a", "", "longer"], ["bcd", "", "x"]];
        let rows = rows.map(|row| row.map(String::from));
        assert_eq!(aligned(&rows), ["a    longer", "bcd  x"]);
    }
}
