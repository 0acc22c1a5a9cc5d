//! One pass over a block that builds nothing: links, number of values, keys that stand twice.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::cid::{Cid, cid_from_exact};
use crate::limits::MAX_LINKS_PER_NODE;

/// What a block has in it.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Every link, in the order of the block.
    pub(super) links: Vec<Cid>,
    /// Values of any kind, keys of maps left out.
    pub(super) values: usize,
    /// Whether a map has the key `/`. Those by which dag-json marks links and bytes are no maps.
    has_slash_key: bool,
}

/// Depth is bounded by the decoder, at 128 levels.
pub(super) fn dag_cbor(block: &[u8]) -> Result<Scan, String> {
    let mut scan = Scan::default();
    let mut decoder = serde_ipld_dagcbor::de::Deserializer::from_slice(block);
    Value { scan: &mut scan }.deserialize(&mut decoder).map_err(|error| error.to_string())?;
    decoder.end().map_err(|error| error.to_string())?;
    Ok(scan)
}

/// Depth is bounded by the JSON parser, at 128 levels.
pub(super) fn dag_json(block: &[u8]) -> Result<Scan, String> {
    let mut scan = Scan::default();
    let mut json = serde_json::Deserializer::from_slice(block);
    let decoder = serde_ipld_dagjson::de::Deserializer::new(&mut json);
    Value { scan: &mut scan }.deserialize(decoder).map_err(|error| error.to_string())?;
    json.end().map_err(|error| error.to_string())?;
    if scan.has_slash_key {
        return Err("the key \"/\" is only for links and bytes".to_owned());
    }
    match wide_integer(block) {
        None => Ok(scan),
        Some(digits) => Err(format!("the integer {digits} has more than 64 bits")),
    }
}

/// The first integer of a JSON text that the parser would make a float of, and so another number.
fn wide_integer(json: &[u8]) -> Option<&str> {
    let mut rest = json;
    while let Some((first, tail)) = rest.split_first() {
        match first {
            b'"' => rest = after_string(tail),
            b'-' | b'0'..=b'9' => {
                let in_number = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
                let len = rest.iter().take_while(|byte| in_number(byte)).count();
                let (number, tail) = rest.split_at(len);
                let number = std::str::from_utf8(number).unwrap_or_default();
                let is_integer = !number.contains(['.', 'e', 'E']);
                let fits = number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok();
                if is_integer && !fits {
                    return Some(number);
                }
                rest = tail;
            }
            _ => rest = tail,
        }
    }
    None
}

fn after_string(mut rest: &[u8]) -> &[u8] {
    loop {
        match rest {
            [b'"', tail @ ..] => return tail,
            [b'\\', _, tail @ ..] | [_, tail @ ..] => rest = tail,
            [] => return rest,
        }
    }
}

struct Value<'a> {
    scan: &'a mut Scan,
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, decoder: D) -> Result<(), D::Error> {
        self.scan.values += 1;
        decoder.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i128<E>(self, _: i128) -> Result<(), E> {
        Ok(())
    }

    fn visit_u128<E>(self, _: u128) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    /// Both decoders give a link, and nothing else, in this form.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, decoder: D) -> Result<(), D::Error> {
        let bytes = CidBytes::deserialize(decoder)?.0;
        let cid = cid_from_exact(&bytes).map_err(de::Error::custom)?;
        if self.scan.links.len() == MAX_LINKS_PER_NODE {
            let reason = format!("it has more than {MAX_LINKS_PER_NODE} links");
            return Err(de::Error::custom(reason));
        }
        self.scan.links.push(cid);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Value { scan: self.scan })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut keys = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            map.next_value_seed(Value { scan: self.scan })?;
            if keys.contains(&key) {
                return Err(de::Error::custom(format!("key {key:?} stands twice")));
            }
            self.scan.has_slash_key |= key == "/";
            keys.insert(key);
        }
        Ok(())
    }
}

/// The bytes of a link, borrowed or not.
struct CidBytes(Vec<u8>);

impl<'de> Deserialize<'de> for CidBytes {
    fn deserialize<D: Deserializer<'de>>(decoder: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = CidBytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the bytes of a link")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<CidBytes, E> {
                Ok(CidBytes(bytes.to_vec()))
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<CidBytes, E> {
                Ok(CidBytes(bytes))
            }
        }
        decoder.deserialize_bytes(Bytes)
    }
}
