//! From a picture to a model's input.

use image::imageops::{self, FilterType};

use super::decode::Picture;
use crate::error::{Error, Result};
use crate::onnx::Layout;
use crate::onnx::card::{Color, InputCard, Resize};

/// A picture made ready: the input, and the part of the picture that it shows.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Row-major, in the model's shape.
    pub input: Vec<f32>,
    /// The picture's part that the model sees, at the picture's own resolution.
    pub seen: Picture,
}

/// Fits a picture to an input of `shape` and `layout`, and scales its pixels as the card says.
pub fn prepare(picture: &Picture, shape: &[usize], layout: Layout, card: &InputCard) -> Result<Prepared> {
    let Some((channels, height, width)) = layout.split(shape) else {
        let reason = format!("is an image, but the model's input has shape {shape:?}; give a .npy tensor");
        return Err(Error::bad_input(reason));
    };
    if shape[0] != 1 {
        return Err(Error::bad_input(format!("is one image, but the model wants a batch of {}", shape[0])));
    }
    let color = card.color.unwrap_or(if channels == 1 { Color::Gray } else { Color::Rgb });
    if channels != if color == Color::Gray { 1 } else { 3 } {
        let (own, name) = if color == Color::Gray { (1, "gray") } else { (3, "rgb or bgr") };
        let reason = format!(
            "is made an image of {own} channels (color = {name}), but the model's input has {channels}; set --color or give a .npy tensor"
        );
        return Err(Error::bad_input(reason));
    }
    for (values, what) in [(&card.mean, "mean"), (&card.std, "std")] {
        if values.len() != 1 && values.len() != channels {
            return Err(Error::usage(format!("{what} has {} values for {channels} channels", values.len())));
        }
    }
    let fit = Fit::of(picture.dimensions(), (height, width), card)?;
    let fitted = fit.apply(picture);
    let mut input = vec![0.0; channels * height * width];
    for (pixel, rgb) in fitted.pixels().enumerate() {
        for channel in 0..channels {
            let raw = match color {
                Color::Rgb => rgb[channel] as f32,
                Color::Bgr => rgb[2 - channel] as f32,
                // Rec. 601, as image libraries and training pipelines have it.
                Color::Gray => luminance(rgb.0),
            };
            let place = match layout {
                Layout::ChannelsFirst => channel * height * width + pixel,
                Layout::ChannelsLast => pixel * channels + channel,
            };
            input[place] = card.value(raw, channel);
        }
    }
    Ok(Prepared { input, seen: fit.seen(picture) })
}

/// A picture of an input that came as numbers, in the order of colours that it says: its range becomes 0..255.
///
/// Errors: a shape that is no image's, or another number of values.
pub fn picture_of(input: &[f32], shape: &[usize], layout: Layout, color: Option<Color>) -> Result<Picture> {
    let (channels, height, width) = layout.split(shape).unwrap_or_default();
    if channels == 0 || channels * height * width != input.len() {
        return Err(Error::bad_input(format!("has {} values, which are no image of shape {shape:?}", input.len())));
    }
    let (low, high) = input.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
    let range = if high > low { high - low } else { 1.0 };
    Ok(Picture::from_fn(width as u32, height as u32, |x, y| {
        let pixel = y as usize * width + x as usize;
        let value = |channel: usize| {
            let channel = if color == Some(Color::Bgr) { 2 - channel } else { channel }.min(channels - 1);
            let place = match layout {
                Layout::ChannelsFirst => channel * height * width + pixel,
                Layout::ChannelsLast => pixel * channels + channel,
            };
            ((input[place] - low) / range * 255.0).round() as u8
        };
        image::Rgb(std::array::from_fn(value))
    }))
}

/// The brightness of a pixel, 0..255.
pub fn luminance([r, g, b]: [u8; 3]) -> f32 {
    (299.0 * r as f32 + 587.0 * g as f32 + 114.0 * b as f32) / 1000.0
}

/// Which pixels of an input of this shape a picture marks, by more than half of full brightness. It is fitted as the card says
/// of images, without blending pixels.
pub fn mask(picture: &Picture, shape: &[usize], layout: Layout, card: &InputCard) -> Result<Vec<bool>> {
    marked(picture.dimensions(), |x, y| is_bright(picture, (x, y)), shape, layout, card)
}

/// Whether a pixel, by column and row, has more than half of full brightness.
pub fn is_bright(picture: &Picture, (x, y): (u32, u32)) -> bool {
    luminance(picture.get_pixel(x, y).0) > 127.5
}

/// The same of a picture of `own` width and height, of which `is_marked` says what it marks, by column and row. Where all that is
/// marked lies between the middles of the input's pixels, those that it lies in are.
pub fn marked(
    own: (u32, u32),
    is_marked: impl Fn(u32, u32) -> bool,
    shape: &[usize],
    layout: Layout,
    card: &InputCard,
) -> Result<Vec<bool>> {
    let no_image =
        || Error::usage(format!("an input of shape {shape:?} is no image, so none of its pixels can be marked"));
    let (_, height, width) = layout.split(shape).ok_or_else(no_image)?;
    let fit = Fit::of(own, (height, width), card)?;
    let places = (0..height as u32).flat_map(|row| (0..width as u32).map(move |column| fit.centre(column, row)));
    let mut marks: Vec<bool> = places.map(|(x, y)| is_marked(x, y)).collect();
    if !marks.contains(&true) {
        let all = (0..own.1).flat_map(|y| (0..own.0).map(move |x| (x, y)));
        let over = all.filter(|(x, y)| is_marked(*x, *y)).filter_map(|(x, y)| fit.over(x, y));
        over.for_each(|(column, row)| marks[row as usize * width + column as usize] = true);
    }
    Ok(marks)
}

/// How a picture lies under a model's input: the whole of it, resized, of which the input is a part.
#[derive(Clone, Copy)]
struct Fit {
    /// Width and height of the picture.
    own: (u32, u32),
    /// What it is resized to.
    resized: (u32, u32),
    /// Where the input begins in that.
    at: (u32, u32),
    /// Width and height of the input.
    part: (u32, u32),
}

/// Of `to` pixels that lie over `from` others, the one at the middle of one of these.
fn at_middle(place: u32, from: u32, to: u32) -> u32 {
    (u64::from(2 * place + 1) * u64::from(to) / (2 * u64::from(from))) as u32
}

/// Pixels to which a picture is resized, at most: one that is a line is not made a square's height.
const MOST_RESIZED: u64 = 1 << 26;

impl Fit {
    fn of(own: (u32, u32), (height, width): (usize, usize), card: &InputCard) -> Result<Fit> {
        let ((w, h), part) = (own, (width as u32, height as u32));
        if w == 0 || h == 0 {
            return Err(Error::bad_input(format!("is a picture of {w} x {h}, which has no pixels")));
        }
        match card.resize {
            Resize::None if own != part => Err(Error::bad_input(format!(
                "is {w} x {h}, but the model wants {width} x {height} and resize = none forbids resizing"
            ))),
            Resize::Stretch | Resize::None => Ok(Fit { own, resized: part, at: (0, 0), part }),
            Resize::Crop => Fit::cropped(own, part, card.crop_ratio),
        }
    }

    /// The side that is too short for the input's proportions becomes the input's by the ratio, and of the other one the middle is
    /// kept: torchvision's `Resize` and `CenterCrop`, to the pixel.
    fn cropped(own: (u32, u32), part: (u32, u32), ratio: f32) -> Result<Fit> {
        let by_ratio = |side: u32| ((f64::from(side) / f64::from(ratio) + 1e-3) as u64).max(side.into());
        let ((w, h), (to_w, to_h)) = ((u64::from(own.0), u64::from(own.1)), (by_ratio(part.0), by_ratio(part.1)));
        let (to_w, to_h) = if w * to_h < h * to_w { (to_w, to_w * h / w) } else { (to_h * w / h, to_h) };
        if to_w.saturating_mul(to_h) > MOST_RESIZED {
            return Err(Error::bad_input(format!("is {w} x {h}, of which resize = crop would see next to nothing")));
        }
        // Half pixels go to the even side, as Python rounds them.
        let middle = |whole: u32, part: u32| {
            let (half, odd) = ((whole - part) / 2, (whole - part) % 2);
            half + (half & odd)
        };
        let resized = (to_w as u32, to_h as u32);
        Ok(Fit { own, resized, at: (middle(resized.0, part.0), middle(resized.1, part.1)), part })
    }

    /// The input's pixels.
    fn apply(&self, picture: &Picture) -> Picture {
        let resize = || imageops::resize(picture, self.resized.0, self.resized.1, FilterType::Triangle);
        if self.resized == self.part {
            return if self.own == self.part { picture.clone() } else { resize() };
        }
        imageops::crop_imm(&resize(), self.at.0, self.at.1, self.part.0, self.part.1).to_image()
    }

    /// The pixel of the picture at the middle of one of the input.
    fn centre(&self, column: u32, row: u32) -> (u32, u32) {
        let (x, y) = (column + self.at.0, row + self.at.1);
        (at_middle(x, self.resized.0, self.own.0), at_middle(y, self.resized.1, self.own.1))
    }

    /// The pixel of the input that the middle of one of the picture lies in, if the input shows it.
    fn over(&self, x: u32, y: u32) -> Option<(u32, u32)> {
        let column = at_middle(x, self.own.0, self.resized.0).checked_sub(self.at.0)?;
        let row = at_middle(y, self.own.1, self.resized.1).checked_sub(self.at.1)?;
        (column < self.part.0 && row < self.part.1).then_some((column, row))
    }

    /// What the input shows of the picture, to the nearest pixel.
    fn seen(&self, picture: &Picture) -> Picture {
        if self.resized == self.part {
            return picture.clone();
        }
        let old = |place: u32, own: u32, resized: u32| {
            (f64::from(place) * f64::from(own) / f64::from(resized)).round() as u32
        };
        let edges = |at, part, own, resized| (old(at, own, resized), old(at + part, own, resized));
        let (left, right) = edges(self.at.0, self.part.0, self.own.0, self.resized.0);
        let (top, bottom) = edges(self.at.1, self.part.1, self.own.1, self.resized.1);
        let (width, height) = ((right - left).max(1), (bottom - top).max(1));
        let (left, top) = (left.min(self.own.0 - width), top.min(self.own.1 - height));
        imageops::crop_imm(picture, left, top, width, height).to_image()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Red grows along the rows, green along the columns.
    fn ramp(width: u32, height: u32) -> Picture {
        Picture::from_fn(width, height, |x, y| image::Rgb([2 * x as u8, 3 * y as u8, 0]))
    }

    fn card(resize: Resize, crop_ratio: f32) -> InputCard {
        InputCard { resize, crop_ratio, scale: 1.0, ..InputCard::default() }
    }

    /// Where torchvision's `Resize` and `CenterCrop` have each place's middle; antialiasing leaves a ramp a ramp.
    #[test]
    fn a_crop_sees_what_torchvision_s_does() {
        // To 9 x 13 (13.5), of which rows 0.5 and columns 2.5 are left out: half to even.
        for ((w, h), (to_w, to_h), (left, top)) in [
            ((45, 30), (13, 9), (2, 0)),
            ((30, 45), (9, 13), (0, 2)),
            ((90, 60), (13, 9), (2, 0)),
            ((37, 37), (9, 9), (0, 0)),
        ] {
            let (picture, shape) = (ramp(w, h), [1, 3, 8, 8]);
            let made = prepare(&picture, &shape, Layout::ChannelsFirst, &card(Resize::Crop, 0.875)).unwrap();
            // The picture's own edges are repeated there.
            for (row, column) in (1..7).flat_map(|row| (1..7).map(move |column| (row, column))) {
                let middle = |place: u32, own: u32, to: u32| (place as f32 + 0.5) * own as f32 / to as f32 - 0.5;
                let (x, y) = (middle(column + left, w, to_w), middle(row + top, h, to_h));
                let at = |channel: u32| made.input[(channel * 64 + row * 8 + column) as usize];
                assert!((at(0) - 2.0 * x).abs() < 1.01 && (at(1) - 3.0 * y).abs() < 1.01, "{w} x {h}: {row}, {column}");
            }
            let seen = (8.0 * w as f32 / to_w as f32, 8.0 * h as f32 / to_h as f32);
            assert!(
                (made.seen.width() as f32 - seen.0).abs() <= 1.0 && (made.seen.height() as f32 - seen.1).abs() <= 1.0
            );
        }
    }

    #[test]
    fn a_mask_goes_where_its_picture_goes() {
        for (resize, ratio) in [(Resize::Stretch, 1.0), (Resize::Crop, 1.0), (Resize::Crop, 0.8)] {
            let marked = |x: u32, y: u32| (20..61).contains(&x) && (11..34).contains(&y);
            let picture = Picture::from_fn(90, 50, |x, y| image::Rgb([if marked(x, y) { 255 } else { 0 }; 3]));
            let (shape, card) = ([1, 3, 12, 12], card(resize, ratio));
            let own = mask(&picture, &shape, Layout::ChannelsFirst, &card).unwrap();
            let made = prepare(&picture, &shape, Layout::ChannelsFirst, &card).unwrap().input;
            // What an edge goes through may be either.
            let differ = own.iter().zip(&made).filter(|(own, made)| **own != (**made > 127.5)).count();
            assert!(own.contains(&true) && own.contains(&false) && differ <= 6, "{resize:?} {ratio}: {differ}");
        }
    }

    #[test]
    fn what_is_thinner_than_a_pixel_of_the_input_marks_those_it_lies_in() {
        let line = Picture::from_fn(96, 96, |x, y| image::Rgb([if x == 30 && y < 60 { 255 } else { 0 }; 3]));
        for (resize, ratio, column, rows) in [(Resize::Stretch, 1.0, 15, 0..30), (Resize::Crop, 0.5, 6, 0..36)] {
            let marks = mask(&line, &[1, 3, 48, 48], Layout::ChannelsFirst, &card(resize, ratio)).unwrap();
            let expected: Vec<bool> = (0..48 * 48).map(|p| p % 48 == column && rows.contains(&(p / 48))).collect();
            assert_eq!(marks, expected, "{resize:?}");
        }
        // The input shows the middle alone.
        let corner = Picture::from_fn(96, 96, |x, y| image::Rgb([if x < 9 && y < 9 { 255 } else { 0 }; 3]));
        let marks = mask(&corner, &[1, 3, 48, 48], Layout::ChannelsFirst, &card(Resize::Crop, 0.5)).unwrap();
        assert!(!marks.contains(&true));
    }

    #[test]
    fn lines_are_stretched_but_not_cropped() {
        let (line, shape) = (Picture::new(20_000, 1), [1, 3, 224, 224]);
        assert!(prepare(&line, &shape, Layout::ChannelsFirst, &card(Resize::Stretch, 1.0)).is_ok());
        let error = prepare(&line, &shape, Layout::ChannelsFirst, &card(Resize::Crop, 1.0)).unwrap_err();
        assert!(error.to_string().contains("20000 x 1"), "{error}");
    }
}
