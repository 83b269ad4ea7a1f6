//! Scores of places, as segmentation and heat maps have them: a class at each row and column.

use super::{Card, Layout};
use crate::error::{Error, Result};

/// How scores of places lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    layout: Layout,
    /// Of each place.
    pub classes: usize,
    height: usize,
    width: usize,
}

impl Places {
    /// Those of scores of these extents, if they are of places of one image.
    pub fn of(scores: &[usize], layout: Layout) -> Option<Places> {
        let (classes, height, width) = layout.split(scores).filter(|_| scores[0] == 1)?;
        (classes > 0 && height * width > 1).then_some(Places { layout, classes, height, width })
    }

    /// Those of scores beside an image of so many rows and columns, of this layout: classes lie where the other two axes have
    /// the image's proportions.
    pub fn beside(scores: &[usize], (height, width): (usize, usize), image: Layout) -> Option<Places> {
        let other = match image {
            Layout::ChannelsFirst => Layout::ChannelsLast,
            Layout::ChannelsLast => Layout::ChannelsFirst,
        };
        let off = |places: &Places| ((places.height * width) as f64 / (places.width * height) as f64).ln().abs();
        let all = [image, other].into_iter().filter_map(|layout| Places::of(scores, layout));
        all.min_by(|a, b| off(a).total_cmp(&off(b)))
    }

    /// The axis of classes.
    pub fn class_axis(&self) -> usize {
        match self.layout {
            Layout::ChannelsFirst => 1,
            Layout::ChannelsLast => 3,
        }
    }

    /// The index among all scores.
    pub fn index(&self, class: usize, [row, column]: [usize; 2]) -> usize {
        match self.layout {
            Layout::ChannelsFirst => (class * self.height + row) * self.width + column,
            Layout::ChannelsLast => (row * self.width + column) * self.classes + class,
        }
    }

    /// The class, and the row and column, of an index.
    pub fn parts(&self, index: usize) -> (usize, [usize; 2]) {
        let (class, place) = match self.layout {
            Layout::ChannelsFirst => (index / (self.height * self.width), index % (self.height * self.width)),
            Layout::ChannelsLast => (index % self.classes, index / self.classes),
        };
        (class, [place / self.width, place % self.width])
    }

    /// What `CLASS@ROW,COLUMN` means, where the class is an index or a label of the card.
    pub fn named(&self, class: &str, at: &str, card: &Card) -> Result<usize> {
        let class = card.class(class, self.classes)?;
        let numbers = at.split_once(',').and_then(|(r, c)| Some([r.trim().parse().ok()?, c.trim().parse().ok()?]));
        let place = numbers.filter(|[row, column]| *row < self.height && *column < self.width);
        place.map(|place| self.index(class, place)).ok_or_else(|| {
            let (height, width) = (self.height, self.width);
            let reason = format!(
                "there is no place '{at}'; write CLASS@ROW,COLUMN, of {height} rows and {width} columns from 0"
            );
            Error::Target { reason }
        })
    }

    /// The same the other way round.
    pub fn name(&self, index: usize, card: &Card) -> String {
        let (class, [row, column]) = self.parts(index);
        let label = card.label(class, self.classes).map_or(class.to_string(), str::to_string);
        format!("{label}@{row},{column}")
    }

    /// The axes of rows and columns.
    pub fn axes(&self) -> [usize; 2] {
        match self.layout {
            Layout::ChannelsFirst => [2, 3],
            Layout::ChannelsLast => [1, 2],
        }
    }

    /// Extents of a value for each place, along the scores'.
    pub fn extents(&self) -> [usize; 4] {
        let [row, column] = self.axes();
        let mut extents = [1; 4];
        (extents[row], extents[column]) = (self.height, self.width);
        extents
    }

    /// How much of what each place covers is marked, place by place, where the pixels of an image of these extents are.
    pub fn covered(&self, marked: &[bool], (height, width): (usize, usize)) -> Vec<f32> {
        let (rows, columns) = (overlaps(height, self.height), overlaps(width, self.width));
        let of = |row: &[(usize, f32)], column: &[(usize, f32)]| {
            let pixels =
                row.iter().flat_map(|&(y, down)| column.iter().map(move |&(x, right)| (y * width + x, down * right)));
            pixels.filter(|(pixel, _)| marked.get(*pixel) == Some(&true)).map(|(_, share)| share).sum()
        };
        rows.iter().flat_map(|row| columns.iter().map(|column| of(row, column))).collect()
    }
}

/// Of an axis of `from` cells cut into `to` instead: the old cells that each new one covers, and how much of itself lies there.
fn overlaps(from: usize, to: usize) -> Vec<Vec<(usize, f32)>> {
    // Both axes in units of which an old cell has `to` and a new one `from`.
    let cell = |new: usize| {
        let (start, end) = (new * from, (new + 1) * from);
        let olds = start / to..end.div_ceil(to);
        let share = move |old: usize| (end.min((old + 1) * to) - start.max(old * to)) as f32 / from as f32;
        olds.map(|old| (old, share(old))).collect()
    };
    (0..to).map(cell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_the_index_that_has_it() {
        let card = Card { labels: vec!["lung".into(), "heart".into()], ..Card::default() };
        for (shape, layout) in [([1, 2, 3, 5], Layout::ChannelsFirst), ([1, 3, 5, 2], Layout::ChannelsLast)] {
            let places = Places::of(&shape, layout).unwrap();
            for index in 0..30 {
                let name = places.name(index, &card);
                let (class, at) = name.split_once('@').unwrap();
                assert_eq!(places.named(class, at, &card).unwrap(), index, "{name}");
            }
            assert_eq!(places.named("heart", "2,4", &card).unwrap(), places.named("1", " 2, 4", &card).unwrap());
            for wrong in ["3,0", "0,5", "1", "a,b", "-1,0"] {
                assert!(places.named("0", wrong, &card).unwrap_err().to_string().contains("3 rows and 5 columns"));
            }
            assert!(places.named("2", "0,0", &card).is_err());
        }
        // Either layout beside an image of either, by the proportions; where both have those, the image's.
        for image in [Layout::ChannelsFirst, Layout::ChannelsLast] {
            for (scores, layout) in
                [([1, 5, 24, 16], Layout::ChannelsFirst), ([1, 24, 16, 5], Layout::ChannelsLast), ([1, 8, 8, 8], image)]
            {
                let extents = if scores[2] == 8 { (64, 64) } else { (96, 64) };
                assert_eq!(Places::beside(&scores, extents, image), Places::of(&scores, layout));
            }
        }
        // Two rows of three pixels on one row of two places; and each pixel on four.
        let (marked, extents) = ([true, false, false, true, true, true], (2, 3));
        let coarse = Places::of(&[1, 2, 1, 2], Layout::ChannelsFirst).unwrap();
        let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6) && a.len() == b.len();
        assert!(close(&coarse.covered(&marked, extents), &[5.0 / 6.0, 0.5]));
        let fine = Places::of(&[1, 4, 6, 2], Layout::ChannelsLast).unwrap();
        assert_eq!((fine.axes(), fine.extents()), ([1, 2], [1, 4, 6, 1]));
        let covered = fine.covered(&marked, extents);
        assert!(close(&covered[..6], &[1.0, 1.0, 0.0, 0.0, 0.0, 0.0]) && close(&covered[12..], &[1.0; 12]));
        assert_eq!(Places::of(&[1, 10, 1, 1], Layout::ChannelsFirst), None);
        assert_eq!(Places::of(&[1, 10], Layout::ChannelsFirst), None);
    }
}
