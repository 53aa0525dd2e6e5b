//! An array of JSON objects as lines with columns.

use serde_json::Value;

use super::failure::Failure;
use super::output::Output;

/// Columns that stand first, in this order; the others follow as they come.
const FIRST: [&str; 5] = ["topic", "pattern", "name", "partition", "id"];

/// The objects of `text`, one a line: as they are, or as a table with a heading; how many there are.
pub fn write(text: &str, output: &mut Output) -> Result<usize, Failure> {
    let unreadable = |_| Failure::Local("the broker's answer is not a JSON array".into());
    let rows: Vec<Value> = serde_json::from_str(text).map_err(unreadable)?;
    self::rows(&rows, output)?;
    Ok(rows.len())
}

/// Objects, one a line: as they are, or as a table with a heading.
pub fn rows(rows: &[Value], output: &mut Output) -> Result<(), Failure> {
    if output.is_json() {
        return rows.iter().try_for_each(|row| output.object(row));
    }
    lines(rows).iter().try_for_each(|line| output.line(line.as_bytes()))
}

fn lines(rows: &[Value]) -> Vec<String> {
    let columns = columns(rows);
    let heading = columns.iter().map(|name| name.to_uppercase()).collect();
    let cells = rows.iter().map(|row| columns.iter().map(|name| cell(&row[*name])).collect());
    let table: Vec<Vec<String>> = std::iter::once(heading).chain(cells).collect();
    let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    table.iter().map(|row| padded(row, &widths)).collect()
}

fn columns(rows: &[Value]) -> Vec<&str> {
    let mut columns: Vec<&str> = Vec::new();
    for name in rows.iter().filter_map(Value::as_object).flat_map(|row| row.keys()) {
        if !columns.contains(&name.as_str()) {
            columns.push(name);
        }
    }
    columns.sort_by_key(|name| FIRST.iter().position(|first| first == name).unwrap_or(FIRST.len()));
    columns
}

/// Never empty, so that every line has as many words as columns; never a control character.
pub fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect(),
        other => other.to_string(),
    };
    if text.is_empty() { "-".into() } else { text }
}

fn padded(row: &[String], widths: &[usize]) -> String {
    let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
    cells.join("  ").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_has_a_heading_and_a_word_in_every_cell() {
        let rows = [json!({"next": 5, "topic": "a"}), json!({"topic": "long.name", "ttl": null, "next": 1200})];
        assert_eq!(lines(&rows), ["TOPIC      NEXT  TTL", "a          5     -", "long.name  1200  -"]);
        assert_eq!(lines(&[]), [""]);
    }
}
