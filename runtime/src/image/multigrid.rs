//! Solves `A x = b` where every unknown of a plane is tied to the eight around it, by conjugate gradients with a multigrid
//! cycle as preconditioner: the number of steps hardly grows with the extent of what is solved for.

/// The square of the residual's norm, in that of the preconditioner, falls to this share of what it was.
const TOLERANCE: f64 = 1e-8;

/// In practice about ten suffice.
const STEPS: usize = 200;

/// The weight of a step of Jacobi's: below one it converges for every matrix here, all of which are diagonally dominant.
const DAMPING: f32 = 0.9;

/// A level with no more rows and columns than this is solved by repetition.
const COARSEST: usize = 4;
const REPETITIONS: usize = 16;

/// Cycles on the coarser level for one on the finer: with the sums of four cells each, one alone would leave too much.
const CYCLES: usize = 2;

/// A matrix over the cells of a plane, with a frame of one cell around it that is zero: `own` is the diagonal, the others are how
/// strongly a cell is tied to the one in that direction, and to the opposite one by symmetry. A cell that is no unknown has
/// zeros.
pub struct Level {
    height: usize,
    width: usize,
    own: Vec<f32>,
    /// One over it, with the damping; zero where there is no unknown.
    inverse: Vec<f32>,
    east: Vec<f32>,
    south: Vec<f32>,
    south_east: Vec<f32>,
    south_west: Vec<f32>,
}

impl Level {
    /// Without unknowns.
    pub fn empty(height: usize, width: usize) -> Level {
        let plane = || vec![0.0; (height + 2) * (width + 2)];
        let [own, inverse, east, south, south_east, south_west] = std::array::from_fn(|_| plane());
        Level { height, width, own, inverse, east, south, south_east, south_west }
    }

    fn stride(&self) -> usize {
        self.width + 2
    }

    fn at(&self, row: usize, column: usize) -> usize {
        (row + 1) * self.stride() + column + 1
    }

    /// Adds to the diagonal.
    pub fn add_own(&mut self, row: usize, column: usize, weight: f32) {
        let at = self.at(row, column);
        self.own[at] += weight;
    }

    /// Ties a cell to the one so many rows and columns away, each at most one. Ties are told from both ends; those to the west
    /// and north are the others' own.
    pub fn couple(&mut self, row: usize, column: usize, direction: (isize, isize), weight: f32) {
        let at = self.at(row, column);
        match direction {
            (0, 1) => self.east[at] += weight,
            (1, 0) => self.south[at] += weight,
            (1, 1) => self.south_east[at] += weight,
            (1, -1) => self.south_west[at] += weight,
            _ => {}
        }
    }

    /// The matrix for what is constant over squares of two by two cells.
    fn coarser(&self) -> Level {
        let mut coarse = Level::empty(self.height.div_ceil(2), self.width.div_ceil(2));
        for row in 0..self.height {
            for column in 0..self.width {
                let at = self.at(row, column);
                if self.own[at] == 0.0 {
                    continue;
                }
                let (own_row, own_column) = (row / 2, column / 2);
                coarse.add_own(own_row, own_column, self.own[at]);
                let ties =
                    [(0, 1, &self.east), (1, 0, &self.south), (1, 1, &self.south_east), (1, -1, &self.south_west)];
                for (r, c, tie) in ties {
                    let weight = tie[at];
                    if weight == 0.0 {
                        continue;
                    }
                    let away =
                        ((row + r) as isize / 2 - own_row as isize, (column as isize + c) / 2 - own_column as isize);
                    match away {
                        (0, 0) => coarse.add_own(own_row, own_column, -2.0 * weight),
                        (0, -1) => coarse.couple(own_row, own_column - 1, (0, 1), weight),
                        _ => coarse.couple(own_row, own_column, away, weight),
                    }
                }
            }
        }
        coarse
    }

    fn invert(&mut self) {
        self.inverse.iter_mut().zip(&self.own).for_each(|(inverse, own)| {
            *inverse = if *own > 0.0 { DAMPING / own } else { 0.0 };
        });
    }

    /// Calls `row` with where each row is, and for each of its cells the sum of its neighbours in `x`, as strongly as they are
    /// tied to it.
    #[inline]
    fn rows(&self, x: &[f32], ties: &mut [f32], mut row: impl FnMut(std::ops::Range<usize>, &[f32])) {
        let (stride, n) = (self.stride(), self.width);
        for r in 1..=self.height {
            let i = r * stride + 1;
            let ties = &mut ties[..n];
            let (above, here, below) =
                (&x[i - stride - 1..][..n + 2], &x[i - 1..][..n + 2], &x[i + stride - 1..][..n + 2]);
            let (east, west) = (&self.east[i..][..n], &self.east[i - 1..][..n]);
            let (south, north) = (&self.south[i..][..n], &self.south[i - stride..][..n]);
            let (se, nw) = (&self.south_east[i..][..n], &self.south_east[i - stride - 1..][..n]);
            let (sw, ne) = (&self.south_west[i..][..n], &self.south_west[i - stride + 1..][..n]);
            for c in 0..n {
                ties[c] = (east[c] * here[c + 2] + west[c] * here[c])
                    + (south[c] * below[c + 1] + north[c] * above[c + 1])
                    + (se[c] * below[c + 2] + nw[c] * above[c])
                    + (sw[c] * below[c] + ne[c] * above[c + 2]);
            }
            row(i..i + n, ties);
        }
    }
}

/// A level with what is worked on there.
struct Stage {
    level: Level,
    right: Vec<f32>,
    x: Vec<f32>,
    residual: Vec<f32>,
    ties: Vec<f32>,
}

impl Stage {
    fn new(mut level: Level) -> Stage {
        level.invert();
        let plane = || vec![0.0; level.own.len()];
        let (right, x, residual, ties) = (plane(), plane(), plane(), vec![0.0; level.width]);
        Stage { level, right, x, residual, ties }
    }

    /// `x + inverse (right - A x)`
    fn smooth(&mut self) {
        self.leave();
        let corrected = self.x.iter_mut().zip(&self.residual).zip(&self.level.inverse);
        corrected.for_each(|((x, r), inverse)| *x += inverse * r);
    }

    /// The same from zero.
    fn smooth_first(&mut self) {
        let smoothed = self.x.iter_mut().zip(&self.right).zip(&self.level.inverse);
        smoothed.for_each(|((x, right), inverse)| *x = inverse * right);
    }

    /// `residual = right - A x`
    fn leave(&mut self) {
        let Stage { level, right, x, residual, ties } = self;
        level.rows(x, ties, |at, ties| {
            let (x, own, right) = (&x[at.clone()], &level.own[at.clone()], &right[at.clone()]);
            for (c, residual) in residual[at].iter_mut().enumerate() {
                *residual = right[c] - own[c] * x[c] + ties[c];
            }
        });
    }
}

/// The levels from the finest on.
pub struct Hierarchy {
    stages: Vec<Stage>,
}

impl Hierarchy {
    /// Of a matrix.
    pub fn new(finest: Level) -> Hierarchy {
        let mut stages = vec![Stage::new(finest)];
        while let Some(last) = stages.last().map(|s| &s.level).filter(|l| l.height.max(l.width) > COARSEST) {
            let coarser = last.coarser();
            stages.push(Stage::new(coarser));
        }
        Hierarchy { stages }
    }

    /// Zeros for every cell, with the frame around them.
    pub fn plane(&self) -> Vec<f32> {
        vec![0.0; self.stages[0].right.len()]
    }

    /// Where a cell, counted row by row, is in such a plane.
    pub fn place(&self, cell: usize) -> usize {
        let level = &self.stages[0].level;
        level.at(cell / level.width, cell % level.width)
    }

    /// `x` with `A x = right`; zero where there are no unknowns.
    pub fn solve(&mut self, right: Vec<f32>) -> Vec<f32> {
        let mut x = vec![0.0; right.len()];
        let mut image = vec![0.0; right.len()];
        let mut residual = right;
        let mut direction = self.precondition(&residual).to_vec();
        let mut size = dot(&residual, &direction);
        let enough = size * TOLERANCE;
        for _ in 0..STEPS {
            if size <= enough {
                break;
            }
            self.apply(&direction, &mut image);
            let step = (size / dot(&direction, &image)) as f32;
            for i in 0..x.len() {
                x[i] += step * direction[i];
                residual[i] -= step * image[i];
            }
            let next = self.precondition(&residual);
            let before = std::mem::replace(&mut size, dot(&residual, next));
            let share = (size / before) as f32;
            direction.iter_mut().zip(next).for_each(|(d, n)| *d = n + share * *d);
        }
        x
    }

    fn apply(&mut self, x: &[f32], image: &mut [f32]) {
        let Stage { level, ties, .. } = &mut self.stages[0];
        level.rows(x, ties, |at, ties| {
            let (x, own) = (&x[at.clone()], &level.own[at.clone()]);
            for (c, image) in image[at].iter_mut().enumerate() {
                *image = own[c] * x[c] - ties[c];
            }
        });
    }

    /// One cycle from zero.
    fn precondition(&mut self, right: &[f32]) -> &[f32] {
        self.stages[0].right.copy_from_slice(right);
        cycle(&mut self.stages, true);
        &self.stages[0].x
    }
}

/// One cycle on the first of the levels: smooths, corrects by the coarser ones, and smooths.
fn cycle(stages: &mut [Stage], from_zero: bool) {
    let Some((own, coarser)) = stages.split_first_mut() else { return };
    let smooth = |own: &mut Stage| if from_zero { own.smooth_first() } else { own.smooth() };
    smooth(own);
    if coarser.is_empty() {
        (1..REPETITIONS).for_each(|_| own.smooth());
        return;
    }
    own.leave();
    restrict(own, &mut coarser[0]);
    for number in 0..CYCLES {
        cycle(coarser, number == 0);
    }
    prolong(&coarser[0], own);
    own.smooth();
}

/// The sums of the residual over squares of two by two.
fn restrict(fine: &Stage, coarse: &mut Stage) {
    coarse.right.fill(0.0);
    for row in 0..fine.level.height {
        let from = &fine.residual[fine.level.at(row, 0)..][..fine.level.width];
        let to = coarse.level.at(row / 2, 0);
        for (to, from) in coarse.right[to..].iter_mut().zip(from.chunks(2)) {
            *to += from.iter().sum::<f32>();
        }
    }
}

/// Adds what the coarser level has found, the same for all four of a square; where there is no unknown nothing.
fn prolong(coarse: &Stage, fine: &mut Stage) {
    for row in 0..fine.level.height {
        let (at, width) = (fine.level.at(row, 0), fine.level.width);
        let from = &coarse.x[coarse.level.at(row / 2, 0)..];
        let (x, own) = (&mut fine.x[at..at + width], &fine.level.own[at..at + width]);
        for ((pair, own), from) in x.chunks_mut(2).zip(own.chunks(2)).zip(from) {
            for (x, own) in pair.iter_mut().zip(own) {
                *x += if *own > 0.0 { *from } else { 0.0 };
            }
        }
    }
}

/// In eight sums, so that it is vectorised the same way everywhere.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    let mut total = 0.0;
    // Blocks are short enough for single precision.
    for (a, b) in a.chunks(512).zip(b.chunks(512)) {
        let mut sums = [0.0f32; 8];
        for (a, b) in a.chunks(8).zip(b.chunks(8)) {
            sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
        }
        total += sums.iter().map(|&sum| sum as f64).sum::<f64>();
    }
    total
}
