//! Reading stores, parts of them, and hashes from JSON, strictly.
//!
//! What is not of the protocol's shape is an error; see `encode` for the forms.

use std::collections::BTreeMap;
use std::fmt::{self, Formatter};
use std::marker::PhantomData;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::content::Content;
use super::encode::Form;
use super::hash::Hash;
use super::hlc::Hlc;
use super::store::{Leaf, Node, Store};

/// A stamped thing that can be read in either form.
pub(super) trait Decode: Sized {
    fn decode<'de, D: Deserializer<'de>>(form: Form, source: D) -> Result<Self, D::Error>;
}

/// Reads one `T` in a form.
pub(super) struct As<T>(Form, PhantomData<T>);

impl<T> As<T> {
    pub(super) fn new(form: Form) -> Self {
        Self(form, PhantomData)
    }
}

impl<'de, T: Decode> DeserializeSeed<'de> for As<T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<T, D::Error> {
        T::decode(self.0, source)
    }
}

impl Decode for Leaf {
    fn decode<'de, D: Deserializer<'de>>(form: Form, source: D) -> Result<Self, D::Error> {
        let stamp = Stamp(PhantomData::<Content>, form);
        let (content, hlc, hash) = source.deserialize_seq(stamp)?;
        Ok(Self { content, hlc, hash })
    }
}

impl<C: Decode> Decode for Node<C> {
    fn decode<'de, D: Deserializer<'de>>(form: Form, source: D) -> Result<Self, D::Error> {
        let stamp = Stamp(Children::new(form), form);
        let (children, hlc, hash) = source.deserialize_seq(stamp)?;
        Ok(Self {
            children,
            hlc,
            hash,
        })
    }
}

/// `[thing]`, `[thing, hlc]` or, as it is stored, `[thing, hlc, hash]`.
struct Stamp<S>(S, Form);

impl<'de, S: DeserializeSeed<'de>> Visitor<'de> for Stamp<S> {
    type Value = (S::Value, Hlc, u32);

    fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("a stamped thing: a list of one or two")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let thing = list.next_element_seed(self.0)?;
        let thing = thing.ok_or_else(|| A::Error::custom("a stamped thing is empty"))?;
        let hlc = list.next_element::<Hlc>()?.unwrap_or_default();
        let hash = match self.1 {
            Form::Wire => None,
            Form::Stored => list.next_element::<Hash>()?,
        };
        end(list)?;
        Ok((thing, hlc, hash.map_or(0, |hash| hash.0)))
    }
}

/// An object whose values are `T`.
struct Children<T>(Form, PhantomData<T>);

impl<T> Children<T> {
    fn new(form: Form) -> Self {
        Self(form, PhantomData)
    }
}

impl<'de, T: Decode> DeserializeSeed<'de> for Children<T> {
    type Value = BTreeMap<String, T>;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Self::Value, D::Error> {
        source.deserialize_map(self)
    }
}

impl<'de, T: Decode> Visitor<'de> for Children<T> {
    type Value = BTreeMap<String, T>;

    fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut children = BTreeMap::new();
        while let Some(id) = map.next_key::<String>()? {
            children.insert(id, map.next_value_seed(As::new(self.0))?);
        }
        Ok(children)
    }
}

/// `[tables, values]`, on the wire perhaps with a `1` behind them.
impl Decode for Store {
    fn decode<'de, D: Deserializer<'de>>(form: Form, source: D) -> Result<Self, D::Error> {
        source.deserialize_seq(Pair(form))
    }
}

struct Pair(Form);

impl<'de> Visitor<'de> for Pair {
    type Value = Store;

    fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("tables and values")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Store, A::Error> {
        let missing = || A::Error::custom("tables or values are missing");
        let tables = list
            .next_element_seed(As::new(self.0))?
            .ok_or_else(missing)?;
        let values = list
            .next_element_seed(As::new(self.0))?
            .ok_or_else(missing)?;
        if let Some(mark) = list.next_element::<Hash>()?
            && mark.0 != 1
        {
            return Err(A::Error::custom("changes are marked with a 1"));
        }
        end(list)?;
        Ok(Store { tables, values })
    }
}

impl<'de> Deserialize<'de> for Hlc {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(source)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom(format!("{text:?} is no stamp")))
    }
}

/// A hash: an integer of 32 bits, also when it is written as a float.
impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        let number = f64::deserialize(source)?;
        if (0.0..=f64::from(u32::MAX)).contains(&number) && number.fract() == 0.0 {
            // Checked: nothing is cut off.
            Ok(Self(number as u32))
        } else {
            Err(D::Error::custom(format!("{number} is no hash")))
        }
    }
}

/// A list must end here.
pub(super) fn end<'de, A: SeqAccess<'de>>(mut list: A) -> Result<(), A::Error> {
    match list.next_element::<IgnoredAny>()? {
        None => Ok(()),
        Some(_) => Err(A::Error::custom("a list is too long")),
    }
}

/// A stored store.
pub(super) fn store_from_json(json: &str) -> serde_json::Result<Store> {
    whole(As::new(Form::Stored), json)
}

/// A stored cell or value.
pub(crate) fn leaf_from_json(json: &[u8]) -> serde_json::Result<Leaf> {
    As::new(Form::Stored).deserialize(&mut serde_json::Deserializer::from_slice(json))
}

/// A stored row: the object of its cells.
pub(crate) fn cells_from_json(json: &str) -> serde_json::Result<BTreeMap<String, Leaf>> {
    whole(Children::new(Form::Stored), json)
}

pub(crate) fn content_from_json(json: &str) -> serde_json::Result<Content> {
    serde_json::from_str(json)
}

fn whole<'de, S: DeserializeSeed<'de>>(seed: S, json: &'de str) -> serde_json::Result<S::Value> {
    let mut source = serde_json::Deserializer::from_str(json);
    let value = seed.deserialize(&mut source)?;
    source.end().map(|()| value)
}

#[cfg(test)]
mod tests {
    use super::super::store::Cells;
    use super::*;

    const STORED: &str = concat!(
        r#"[[{"pets":[{"fido":[{"age":["￼","P6tFRR----2mmxrx",3342228380],"#,
        "\"o\":[\"\u{fffd}{\\\"b\\\":1}\",\"P6tFRR----3mmxrx\",3815557342],",
        r#""species":["dog","P6tFRR-----mmxrx",3568909460]},"",3649995096]},"",390618171]},"",4111608223],"#,
        r#"[{"open":["￼","P6tFRR----4mmxrx",2365044414]},"",738522709]]"#,
    );

    #[test]
    fn a_stored_store_is_read_written_and_hashed_as_tinybase_does() {
        let mut store = store_from_json(STORED).unwrap();
        assert!(!store.rehash(), "the note's hashes are right: {store:?}");
        assert_eq!(store.to_stored(), STORED);
        assert_eq!(store.cell("pets", "fido", "age"), None);
        assert_eq!(
            store.cell("pets", "fido", "species"),
            Some(&Content::text("dog"))
        );
    }

    #[test]
    fn a_wrong_stored_hash_is_set_right() {
        let wrong = STORED.replace("390618171", "1");
        let mut store = store_from_json(&wrong).unwrap();
        assert!(store.rehash());
        assert_eq!(store, store_from_json(STORED).unwrap());
    }

    #[test]
    fn cells_are_read_on_the_wire_without_hashes_only() {
        let read = |json| whole(As::<Cells>::new(Form::Wire), json);
        assert!(read(r#"[{"a":[1,"P6tFRR-----mmxrx"]}]"#).is_ok());
        assert!(read(r#"[{"a":[1,""]},""]"#).is_ok());
        for json in [
            r#"[{"a":[1,"P6tFRR-----mmxrx",3]}]"#,
            r#"[{"a":[1,null]}]"#,
            r#"[{"a":[1,"short"]}]"#,
            r#"[{"a":[]}]"#,
            r#"[{"a":1}]"#,
            r#"[]"#,
            r#"{}"#,
        ] {
            assert!(read(json).is_err(), "{json}");
        }
    }
}
