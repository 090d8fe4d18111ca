//! Values of SQL as JSON: in what the admin door says, and in calls to databases.
//! Blobs are `{"blob": "hexadecimal digits"}`, infinities `{"real": "inf"}`.

use dormouse_storage::{KvValue, Value};

/// A value of SQL as JSON.
#[must_use]
pub fn to_json(value: Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Integer(number) => number.into(),
        Value::Real(number) if number.is_finite() => number.into(),
        Value::Real(number) => serde_json::json!({"real": number.to_string()}),
        Value::Text(text) => text.into(),
        Value::Blob(bytes) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            serde_json::json!({"blob": hex})
        }
    }
}

/// A value of a key as JSON: itself, or bytes as those of SQL.
#[must_use]
pub fn pair_to_json(value: KvValue) -> serde_json::Value {
    match value {
        KvValue::Json(text) => {
            serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text))
        }
        KvValue::Bytes(bytes) => to_json(Value::Blob(bytes)),
    }
}

/// JSON as a value of SQL.
///
/// # Errors
/// In words, what there is no value for.
pub fn from_json(json: serde_json::Value) -> Result<Value, String> {
    use serde_json::Value as Json;
    Ok(match json {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Integer(truth.into()),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Value::Integer(integer),
            (None, Some(real)) => Value::Real(real),
            (None, None) => return Err(format!("{number} is no number of SQLite")),
        },
        Json::String(text) => Value::Text(text),
        Json::Object(object) => {
            let text = |key: &str| object.get(key).and_then(Json::as_str);
            match (text("blob").and_then(unhex), text("real").map(str::parse)) {
                (Some(bytes), _) => Value::Blob(bytes),
                (None, Some(Ok(real))) => Value::Real(real),
                _ => {
                    let wanted = r#"{"blob": "00ff…"} or {"real": "inf"}"#;
                    return Err(format!("an object is a parameter only as {wanted}"));
                }
            }
        }
        Json::Array(_) => return Err("a list is no value of SQLite".to_owned()),
    })
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = digits.chars().map(|digit| digit.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    let pairs = digits.chunks_exact(2);
    Some(pairs.map(|pair| (pair[0] * 16 + pair[1]) as u8).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_go_to_json_and_back() {
        let values = [
            Value::Null,
            Value::Integer(i64::MAX),
            Value::Real(0.5),
            Value::Text("ä".into()),
            Value::Blob(vec![0, 255]),
        ];
        for value in values {
            assert_eq!(from_json(to_json(value.clone())), Ok(value));
        }
        assert!(from_json(serde_json::json!({"blob": "0"})).is_err());
        assert!(from_json(serde_json::json!([1])).is_err());
    }
}
