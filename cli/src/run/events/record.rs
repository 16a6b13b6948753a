//! How TensorFlow puts messages one behind the other into a file: length, its checksum, the message, its checksum.

use super::message::Event;
use prost::Message as _;

/// Adds a record to what will be written.
pub fn put(event: &Event, to: &mut Vec<u8>) {
    let message = event.encode_to_vec();
    let length = (message.len() as u64).to_le_bytes();
    to.extend(length);
    to.extend(masked(&length).to_le_bytes());
    to.extend(&message);
    to.extend(masked(&message).to_le_bytes());
}

/// CRC-32C, turned and moved: the format holds checksums of data that hold checksums.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::super::message::What;
    use super::*;

    /// The first record of every event file, of which the bytes are known.
    #[test]
    fn a_record_has_the_bytes_that_others_write() {
        let event = Event {
            wall_time: 0.0,
            step: 0,
            what: Some(What::FileVersion("brain.Event:2".into())),
        };
        let mut bytes = Vec::new();
        put(&event, &mut bytes);
        assert_eq!(bytes[..8], [15, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[12..27], *b"\x1a\x0dbrain.Event:2");
        assert_eq!(bytes.len(), 31);
        // CRC-32C of "123456789" is in its definition.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
    }
}
