//! What a type says when a row does not fit, in words for the author.
//!
//! Names the column, the type found and the type wanted, and quotes no text or
//! bytes of it: errors end up in logs. (A type's own `Deserialize`, such as that
//! of `Json`, may quote what it reads.)

use std::fmt::{self, Display};

use serde::de::{self, Unexpected};

/// What a type said to a row, before it is put into words for the author.
#[derive(Debug)]
pub(super) struct RowError {
    pub(super) fault: Fault,
}

#[derive(Debug)]
pub(super) enum Fault {
    /// A value is of the wrong type, or of the right one and out of range.
    Unfit {
        wanted: String,
        number: Option<String>,
    },
    /// A struct has a field that the row has not.
    MissingField(String),
    /// Anything else that a type says.
    Other(String),
    /// The column is named already.
    Told(String),
}

impl RowError {
    pub(super) fn told(message: String) -> Self {
        Self {
            fault: Fault::Told(message),
        }
    }

    /// Names the column, once.
    pub(super) fn at(self, column: &str, found: &'static str) -> Self {
        let message = match self.fault {
            told @ Fault::Told(_) => return Self { fault: told },
            Fault::Unfit { wanted, number } => {
                let number = number
                    .map(|number| format!(" {number}"))
                    .unwrap_or_default();
                let advice = advice(found, &wanted);
                format!(
                    "column `{column}` holds {found}{number}, which does not fit {wanted}{advice}"
                )
            }
            Fault::MissingField(name) => {
                format!("column `{column}` holds {found}, which has no field `{name}`")
            }
            Fault::Other(text) => format!("column `{column}` holds {found}: {text}"),
        };
        Self::told(message)
    }
}

/// The next step for the mistakes that everybody makes once.
fn advice(found: &str, wanted: &str) -> &'static str {
    let one_value = ["struct ", "a map", "a sequence", "a tuple", "tuple "];
    match found {
        "NULL" => "; read it into an `Option`",
        "TEXT" if one_value.iter().any(|start| wanted.starts_with(start)) => {
            "; if it is JSON, read it into `Json<…>`"
        }
        _ => "",
    }
}

impl Display for RowError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fault {
            Fault::Unfit { wanted, .. } => write!(out, "does not fit {wanted}"),
            Fault::MissingField(name) => write!(out, "has no column `{name}`"),
            Fault::Told(message) | Fault::Other(message) => out.write_str(message),
        }
    }
}

impl std::error::Error for RowError {}

impl de::Error for RowError {
    fn custom<M: Display>(message: M) -> Self {
        Self {
            fault: Fault::Other(message.to_string()),
        }
    }

    fn invalid_type(_found: Unexpected<'_>, wanted: &dyn de::Expected) -> Self {
        Self {
            fault: Fault::Unfit {
                wanted: wanted.to_string(),
                number: None,
            },
        }
    }

    fn invalid_value(found: Unexpected<'_>, wanted: &dyn de::Expected) -> Self {
        let number = match found {
            Unexpected::Signed(number) => Some(number.to_string()),
            Unexpected::Unsigned(number) => Some(number.to_string()),
            _ => None,
        };
        Self {
            fault: Fault::Unfit {
                wanted: wanted.to_string(),
                number,
            },
        }
    }

    fn invalid_length(length: usize, wanted: &dyn de::Expected) -> Self {
        Self::custom(format_args!("{length} columns do not fit {wanted}"))
    }

    fn unknown_variant(_found: &str, variants: &'static [&'static str]) -> Self {
        let wanted = format!("any of `{}`", variants.join("`, `"));
        Self {
            fault: Fault::Unfit {
                wanted,
                number: None,
            },
        }
    }

    fn missing_field(name: &'static str) -> Self {
        Self {
            fault: Fault::MissingField(name.to_owned()),
        }
    }
}
