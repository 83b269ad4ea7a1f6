//! Pictures in rows, each under its title.

use font8x8::UnicodeFonts;
use image::{Rgb, RgbImage, imageops};

const GUTTER: u32 = 8;
/// Pixels of a letter's side.
const LETTER: u32 = 8;
const WHITE: Rgb<u8> = Rgb([255; 3]);
const BLACK: Rgb<u8> = Rgb([0; 3]);

/// Puts tiles of one size in rows of `columns`, left to right, each under its title.
pub fn grid(tiles: &[(String, RgbImage)], columns: usize) -> RgbImage {
    let (width, height) = tiles.iter().fold((0, 0), |(w, h), (_, t)| (w.max(t.width()), h.max(t.height())));
    let longest = tiles.iter().map(|(title, _)| title.chars().count() as u32).max().unwrap_or(0);
    // Letters as large as the titles allow; a title that is too long even so is cut off.
    let zoom = (width / (LETTER * longest.max(1))).clamp(1, 2);
    let columns = columns.clamp(1, tiles.len().max(1));
    let rows = tiles.len().div_ceil(columns) as u32;
    let bar = LETTER * zoom + GUTTER;
    let (across, down) = (width + GUTTER, height + bar + GUTTER);
    let mut sheet = RgbImage::from_pixel(columns as u32 * across + GUTTER, rows * down + GUTTER, WHITE);
    for (i, (title, tile)) in tiles.iter().enumerate() {
        let (x, y) = ((i % columns) as u32 * across + GUTTER, (i / columns) as u32 * down + GUTTER);
        write(&mut sheet, title, (x, y), width, zoom);
        imageops::replace(&mut sheet, tile, x as i64, (y + bar) as i64);
    }
    sheet
}

/// A picture whose longer side has `most` pixels at most.
pub fn thumbnail(picture: RgbImage, most: u32) -> RgbImage {
    let (width, height) = picture.dimensions();
    let longer = width.max(height);
    if longer <= most {
        return picture;
    }
    let short = |side: u32| (u64::from(side) * u64::from(most) / u64::from(longer)).max(1) as u32;
    imageops::thumbnail(&picture, short(width), short(height))
}

/// Writes a line of text into `room` pixels.
fn write(sheet: &mut RgbImage, text: &str, (x, y): (u32, u32), room: u32, zoom: u32) {
    let step = LETTER * zoom;
    for (i, letter) in text.chars().take((room / step) as usize).enumerate() {
        let rows = font8x8::BASIC_FONTS.get(letter).or_else(|| font8x8::LATIN_FONTS.get(letter)).unwrap_or([0xff; 8]);
        for at in 0..step * step {
            let (column, row) = (at % step, at / step);
            if rows[(row / zoom) as usize] >> (column / zoom) & 1 == 1 {
                sheet.put_pixel(x + i as u32 * step + column, y + row, BLACK);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thumbnails_are_no_larger_than_they_may_be() {
        let size = |width, height| thumbnail(RgbImage::from_pixel(width, height, Rgb([7; 3])), 100).dimensions();
        assert_eq!([size(100, 20), size(400, 200), size(3, 3000)], [(100, 20), (100, 50), (1, 100)]);
    }

    #[test]
    fn tiles_lie_in_rows_under_their_titles() {
        let tile = |grey: u8| RgbImage::from_pixel(40, 30, Rgb([grey; 3]));
        let tiles: Vec<_> = [10, 20, 30].map(|grey| (format!("t{grey}"), tile(grey))).into();
        let sheet = grid(&tiles, 2);
        // "t10" fits the 40 pixels in letters of eight.
        assert_eq!(sheet.dimensions(), (2 * 48 + 8, 2 * (30 + 16 + 8) + 8));
        for (i, (x, y)) in [(8, 24), (56, 24), (8, 78)].into_iter().enumerate() {
            assert_eq!(sheet.get_pixel(x, y).0, [10 + 10 * i as u8; 3]);
            assert_eq!(sheet.get_pixel(x + 39, y + 29).0, [10 + 10 * i as u8; 3]);
            let title = (0..8).flat_map(|dy| (0..40).map(move |dx| (dx, dy)));
            let ink = title.filter(|(dx, dy)| sheet.get_pixel(x + dx, y - 16 + dy) == &BLACK).count();
            assert!((10..200).contains(&ink), "{ink}");
        }
        assert!(grid(&[], 3).width() > 0);
        grid(&[("a title that does not fit".into(), tile(1))], 1);
    }
}
