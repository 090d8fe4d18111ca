//! Messages: what stands behind the client id of a frame.
//!
//! `[requestId, message, body]` as JSON, read strictly and written as TinyBase
//! writes it. What cannot be read ends the connection that sent it.

use std::collections::BTreeMap;
use std::fmt::{self, Formatter};

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};
use serde_json::Value as Json;

use super::decode::{As, Decode, end};
use super::encode::{Encode, Form, quote};
use super::hash::Hash;
use super::store::{Diff, Tables, Values};

pub type TableHashes = BTreeMap<String, Hash>;
pub type ValueHashes = BTreeMap<String, Hash>;
pub type RowHashes = BTreeMap<String, TableHashes>;
pub type CellHashes = BTreeMap<String, RowHashes>;

/// Why a text is no message.
#[derive(Debug)]
pub struct Invalid(serde_json::Error);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "this is no TinyBase message: {}", self.0)
    }
}

impl std::error::Error for Invalid {}

/// A message and the id by which its answer will be known.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    pub request_id: Option<String>,
    pub message: Message,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    Response(Response),
    GetContentHashes,
    /// The hashes of the sender's tables and values.
    ContentHashes(Hash, Hash),
    ContentDiff(Diff),
    GetTableDiff(TableHashes),
    GetRowDiff(RowHashes),
    GetCellDiff(CellHashes),
    GetValueDiff(ValueHashes),
}

/// The answer to some request; which one only the asker knows.
#[derive(Clone, Debug, PartialEq)]
pub struct Response(Json);

/// The numbers that stand for the kinds of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Response,
    GetContentHashes,
    ContentHashes,
    ContentDiff,
    GetTableDiff,
    GetRowDiff,
    GetCellDiff,
    GetValueDiff,
}

const KINDS: [Kind; 8] = [
    Kind::Response,
    Kind::GetContentHashes,
    Kind::ContentHashes,
    Kind::ContentDiff,
    Kind::GetTableDiff,
    Kind::GetRowDiff,
    Kind::GetCellDiff,
    Kind::GetValueDiff,
];

impl Envelope {
    /// Reads what follows the client id in a frame.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        serde_json::from_str(text).map_err(Invalid)
    }
}

/// Writes a message.
pub(super) fn compose(request_id: Option<&str>, kind: Kind, body: &dyn Encode) -> String {
    let mut json = String::from("[");
    match request_id {
        Some(id) => quote(id, &mut json),
        None => json.push_str("null"),
    }
    json.push(',');
    Hash(kind as u32).encode(Form::Wire, &mut json);
    json.push(',');
    body.encode(Form::Wire, &mut json);
    json.push(']');
    json
}

impl Response {
    pub(super) fn hashes(&self) -> Option<(Hash, Hash)> {
        Deserialize::deserialize(&self.0).ok()
    }

    pub(super) fn tables_and<H: for<'de> Deserialize<'de>>(&self) -> Option<(Tables, H)> {
        let [tables, hashes] = self.0.as_array()?.as_slice() else {
            return None;
        };
        Some((stamped(tables)?, H::deserialize(hashes).ok()?))
    }

    pub(super) fn tables(&self) -> Option<Tables> {
        stamped(&self.0)
    }

    pub(super) fn values(&self) -> Option<Values> {
        stamped(&self.0)
    }

    /// Whether it answers any request there is.
    fn is_sound(&self) -> bool {
        match self.0.as_array().and_then(|list| list.first()) {
            Some(Json::Number(_)) => self.hashes().is_some(),
            Some(Json::Array(_)) => {
                self.tables_and::<TableHashes>().is_some()
                    || self.tables_and::<RowHashes>().is_some()
            }
            _ => self.tables().is_some() || self.values().is_some(),
        }
    }
}

fn stamped<T: Decode>(json: &Json) -> Option<T> {
    T::decode(Form::Wire, json).ok()
}

impl<'de> Deserialize<'de> for Envelope {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_seq(EnvelopeVisitor)
    }
}

struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = Envelope;

    fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("a list of a request id, a message number and a body")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Envelope, A::Error> {
        let missing = || A::Error::custom("a part of the message is missing");
        let request_id = list.next_element()?.ok_or_else(missing)?;
        let Hash(number) = list.next_element()?.ok_or_else(missing)?;
        let kind = KINDS.get(number as usize);
        let kind = *kind.ok_or_else(|| A::Error::custom(format!("no message is {number}")))?;
        let message = list.next_element_seed(kind)?.ok_or_else(missing)?;
        end(list)?;
        Ok(Envelope {
            request_id,
            message,
        })
    }
}

/// Reads the body that belongs to the kind.
impl<'de> DeserializeSeed<'de> for Kind {
    type Value = Message;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Message, D::Error> {
        Ok(match self {
            Self::Response => {
                let response = Response(Json::deserialize(source)?);
                if !response.is_sound() {
                    return Err(D::Error::custom("no request has such an answer"));
                }
                Message::Response(response)
            }
            Self::GetContentHashes => {
                if !String::deserialize(source)?.is_empty() {
                    return Err(D::Error::custom("the body of this message is empty"));
                }
                Message::GetContentHashes
            }
            Self::ContentHashes => {
                let (tables, values) = Deserialize::deserialize(source)?;
                Message::ContentHashes(tables, values)
            }
            Self::ContentDiff => Message::ContentDiff(As::new(Form::Wire).deserialize(source)?),
            Self::GetTableDiff => Message::GetTableDiff(Deserialize::deserialize(source)?),
            Self::GetRowDiff => Message::GetRowDiff(Deserialize::deserialize(source)?),
            Self::GetCellDiff => Message::GetCellDiff(Deserialize::deserialize(source)?),
            Self::GetValueDiff => Message::GetValueDiff(Deserialize::deserialize(source)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tinybase_sends_is_read() {
        for text in [
            r#"["k3U2v31uXmr.NhTb",1,""]"#,
            r#"[null,1,""]"#,
            r#"["x",0,[0,0]]"#,
            r#"["x",0,[[{}],{"pets":3851441680}]]"#,
            r#"["x",0,[[{"pets":[{"rex":[{"species":["dog","P6v58FF----jmx_3"]}]}]}],{}]]"#,
            r#"["x",0,[[{}],{"t":{"r":3318809257}}]]"#,
            r#"["x",0,[{"t":[{"r":[{"c":[2,"P6v5zco----31zQB"]}]}]}]]"#,
            r#"["x",0,[{"open":[true,"P6v58C3----mmxrx"]}]]"#,
            r#"["x",0,[{}]]"#,
            r#"["x",2,[0,4294967295]]"#,
            r#"["x",3,[[{"pets":[{"fido":[{"species":["dog","P6v58AO----mmxrx"]}]}]}],[{}],1]]"#,
            r#"["x",3,[[{}],[{"open":["￼","P6v58AO----mmxrx"]}]]]"#,
            r#"["x",3.0,[[{"":[{"__proto__":[{"10":[null]}]}]}],[{}]]]"#,
            r#"["x",4,{"pets":1478361685}]"#,
            r#"["x",5,{"pets":{"rex":1451607340}}]"#,
            r#"["x",6,{"t":{"r":{"c":1960598669}}}]"#,
            r#"["x",7,{}]"#,
            r#"["x",3,[[{"t":[{"r":[{"c":[{"a":[1]}]}]}]}],[{}],1]]"#,
        ] {
            Envelope::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for text in [
            "",
            "null",
            "{}",
            "[]",
            r#"["x",1]"#,
            r#"["x",1,"",1]"#,
            r#"["x",1,"more"]"#,
            r#"[7,1,""]"#,
            r#"["x",8,""]"#,
            r#"["x",-1,""]"#,
            r#"["x",1.5,""]"#,
            r#"["x","1",""]"#,
            r#"["x",2,[0]]"#,
            r#"["x",2,[0,4294967296]]"#,
            r#"["x",2,[0,-1]]"#,
            r#"["x",2,[0,0.5]]"#,
            r#"["x",2,[0,0,0]]"#,
            r#"["x",3,[[{}],[{}],2]]"#,
            r#"["x",3,[[{}]]]"#,
            r#"["x",3,[[{}],[{"v":[1e999]}],1]]"#,
            r#"["x",3,[[{}],[{"v":[1,"P6v58AO----mmxr"]}],1]]"#,
            r#"["x",3,[[{}],[{"v":[1,"P6v58AO----mmxrx",1]}],1]]"#,
            r#"["x",4,{"pets":"1"}]"#,
            r#"["x",5,{"pets":1}]"#,
            r#"["x",6,[]]"#,
            r#"["x",0,""]"#,
            r#"["x",0,[[{}],[{}]]]"#,
            r#"["x",1,""] x"#,
        ] {
            assert!(Envelope::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn messages_are_written_as_tinybase_writes_them() {
        let hashes = (Hash(1), Hash(0));
        let text = compose(Some("a\"b"), Kind::ContentHashes, &hashes);
        assert_eq!(text, r#"["a\"b",2,[1,0]]"#);
        assert_eq!(compose(None, Kind::GetContentHashes, &()), r#"[null,1,""]"#);
        let diff = r#"["x",3,[[{"t":[{"r":[{"c":["￼","P6v5zco----31zQB"],"d":[1]}]}]}],[{}],1]]"#;
        let Message::ContentDiff(read) = Envelope::parse(diff).unwrap().message else {
            panic!("it is a difference");
        };
        assert_eq!(compose(Some("x"), Kind::ContentDiff, &read), diff);
    }
}
