// The WaveNet decoder's sample loop as one resident kernel: block l holds layer l, the last one the head.
//
//   token -> [layer 0] -> [layer 1] -> ... -> [layer L-1] -> [head] -> draws a class -> token
//            x, skip sum    x, skip sum          x, skip sum
//
// A block keeps its weights in registers and shared memory for the whole launch. What it needs of the past (the
// previous tap) and of the latent is summed up while the others work; only the rest lies on the way of a sample.
// Legend: R residual, S skip, A classes, all padded to 16; B streams (columns of the matrix unit, up to 8).
// Numbers in flight (x, skip sum) are fp32, what is multiplied is rounded to fp16, sums are fp32.
// A guided decoder (WN_GUIDED) is told a class for each sample before it is drawn; the first layer's input is then
// the sum of two embeddings, and the guide's, which waits for nobody, is there first. What it hears as its last class
// is not its draw but leaned[guide][drawn], a class between the two: a past that leans on the guide does not ring on,
// and carries less of the draw's own noise. Audio and classes are still the draw.
//
// Nobody overwrites what somebody still reads: x of sample t+2 takes the place of sample t's only after class
// t+1 was drawn, for which every block has finished with t.

enum { R = WN_RESIDUAL, S = WN_SKIP, A = WN_CLASSES_PADDED, L = WN_LAYERS, B = WN_STREAMS, W = WN_WARPS };
enum { T = 32 * W, WIDTH = R + S, ROWS = L * 2 * R + S, DEEP = R > S ? R : S, PER = (A + 31) / 32 };
enum { IN_ROW = WIDTH + 16, HALF_ROW = DEEP + 16 };  // rows of different streams fall on different banks
enum { REGISTERS = 0, SHARED = 1, GLOBAL = 2 };      // where a matrix stays
enum { STUCK_LAYER = 1, STUCK_HEAD = 2 };

struct Model {
  const Quad *layers, *head;  // fragments: per layer current tap, output, previous tap; then head, classify
  const float *embed;         // [A][R], guided [2][A][R]: of the class drawn, of the guide's
  const u16* leaned;          // [WN_CLASSES the guide's][A drawn] class that the token brings; null where unguided
  const float *output_bias;   // [L][R + S]
  const float *classify_bias; // [A], padding -1e30
  const float *audio;         // [A]
  const int *dilation;        // [L]
  const int *ring_start;      // [L] slots of the layers before
  u16* ring;                  // [B][slots][R], fp16
  int* last;                  // [B] class, leaned where guided
  u64* mail;                  // [L + 1][2][B][R + S]
  u64* token;                 // [2][B]
  u32* error;
  long long slots;
};

struct Call {
  const Model& m;
  const float *condition, *noise, *temperature;  // [frames][B][ROWS], [B][count], [B]
  const int* forced;                             // [B][count] or null
  const int* guide;                              // [B][count], null where unguided
  float* audio;                                  // [B][count]
  int* classes;                                  // [B][count]
  float* logits;                                 // [B][count][WN_CLASSES] or null
  u32 start;                                     // samples drawn before this launch
  int count, hop;
  u64 patience_ns;
};

struct Shared {
  float in[2][B][IN_ROW];  // x, then the skip sum; two samples take turns
  u16 halves[8][HALF_ROW];
  float logits[B][A];
  u64 bell[2];
};
enum { SHARED_HEAD = (sizeof(Shared) + 127) / 128 * 128 };
static_assert(SHARED_HEAD == WN_SHARED_HEAD, "plan.py and this file disagree");

// One lane's share of a vector of DEPTH numbers: the column of its stream, four neighbours in every 16.
template <int DEPTH>
struct Column {
  Pair k[DEPTH / 16];

  DEVICE void from_floats(const float* row, int stride, bool rectify = false) {
    const int lane = thread() & 31, b = lane >> 2;
#pragma unroll
    for (int i = 0; i < DEPTH / 16; i++) {
      k[i].lo = k[i].hi = 0;
      if (b < B) {
        Floats4 f = *(const Floats4*)(row + b * stride + 16 * i + 4 * (lane & 3));
        if (rectify)
          for (int j = 0; j < 4; j++) f.v[j] = fminf(fmaxf(f.v[j], 0.0f), 65504.0f);
        k[i].lo = pack_halves(f.v[0], f.v[1]);
        k[i].hi = pack_halves(f.v[2], f.v[3]);
      }
    }
  }
  DEVICE void from_halves(const u16* row, long long stride) {
    const int lane = thread() & 31, b = lane >> 2;
#pragma unroll
    for (int i = 0; i < DEPTH / 16; i++) {
      k[i].lo = k[i].hi = 0;
      if (b < B) k[i] = *(const Pair*)(row + b * stride + 16 * i + 4 * (lane & 3));
    }
  }
};

// A matrix of TILES * 16 rows; warp w has the tiles w, w + W, ...
template <int TILES, int DEPTH, int PLACE>
struct Matrix {
  enum { EACH = (TILES + W - 1) / W, STEPS = DEPTH / 16, QUADS = TILES * STEPS * 32 };
  enum { BYTES = PLACE == SHARED ? QUADS * (int)sizeof(Quad) : 0 };
  Quad held[PLACE == REGISTERS ? EACH * STEPS : 1];
  const Quad* at;

  DEVICE static int tile(int j) { return (thread() >> 5) + j * W; }

  // `room`: shared memory for it, if that is its place. A sync_block must follow.
  DEVICE void load(const Quad* from, char* room) {
    at = PLACE == SHARED ? (const Quad*)room : from;
    if (PLACE == SHARED)
      for (int i = thread(); i < QUADS; i += T) ((Quad*)room)[i] = from[i];
    if (PLACE == REGISTERS) {
#pragma unroll
      for (int j = 0; j < EACH; j++)
#pragma unroll
        for (int s = 0; s < STEPS; s++)
          if (tile(j) < TILES) held[j * STEPS + s] = from[(tile(j) * STEPS + s) * 32 + (thread() & 31)];
    }
  }
  // sum += tile j times the columns; two chains, because one multiplication waits for the one before it
  DEVICE void multiply_tile(int j, const Column<DEPTH>& x, float sum[4]) const {
    float other[4] = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll
    for (int s = 0; s < STEPS; s++) {
      const Quad w = PLACE == REGISTERS ? held[j * STEPS + s] : at[(tile(j) * STEPS + s) * 32 + (thread() & 31)];
      multiply(s & 1 ? other : sum, w.v, x.k[s]);
    }
#pragma unroll
    for (int i = 0; i < 4; i++) sum[i] += other[i];
  }
};

// A wait that ends: after `patience_ns`, or when another block has given up.
struct Patience {
  const Call& c;
  u64 end = 0;
  u32 turns = 0;
  DEVICE explicit Patience(const Call& call) : c(call) {}
  DEVICE bool over(u32 every = 64) {
    if (++turns % every) return false;
    const u64 now = now_ns();
    if (!end) end = now + c.patience_ns;
    return now > end || raised(c.m.error);
  }
};

DEVICE bool linked(int from) { return WN_CLUSTER > 1 && from >= 0 && from / WN_CLUSTER == (from + 1) / WN_CLUSTER; }

// x and skip sum of sample t from the block before; true where they did not come. By mail, they lie in shared
// memory only after the next sync_block.
DEVICE bool receive(const Call& c, Shared& s, int t) {
  const int me = block(), turn = t & 1;
  Patience patience(c);
  if (linked(me - 1)) {
    while (!bell_rang(&s.bell[turn], (t >> 1) & 1))  // one turn may take milliseconds
      if (patience.over(4)) return true;
    if (thread() == 0) bell_arm(&s.bell[turn], B * WIDTH * sizeof(float));  // for t + 2
    return false;
  }
  const u32 count = c.start + t + 1;
  const u64* box = c.m.mail + (long long)(me * 2 + turn) * B * WIDTH;
  for (int i = 2 * thread(); i < B * WIDTH; i += 2 * T) {
    u64 a, b;
    for (peek_two(box + i, a, b); (u32)(a >> 32) != count || (u32)(b >> 32) != count; peek_two(box + i, a, b))
      if (patience.over()) return true;
    float* to = &s.in[turn][i / WIDTH][i % WIDTH];
    to[0] = as_float((u32)a);
    to[1] = as_float((u32)b);
  }
  return false;
}

// Rows `row` and `row + 1` of stream b to the next block.
DEVICE void send(const Call& c, Shared& s, int t, int b, int row, float first, float second) {
  const int to = block() + 1, turn = t & 1;
  if (linked(to - 1))
    link_two(&s.in[turn][b][row], &s.bell[turn], to % WN_CLUSTER, first, second);
  else
    post_two(c.m.mail + ((long long)(to * 2 + turn) * B + b) * WIDTH + row, first, second, c.start + t + 1);
}

// The guide's class at sample t, [0, WN_CLASSES).
DEVICE int guided_to(const Call& c, int b, int t) {
  return min(max(c.guide[(long long)b * c.count + t], 0), WN_CLASSES - 1);
}

// Half of a guided decoder's first input: the embedding of the guide's class, into the place that `receive_token`
// adds the other half to. The same thread does both, so no barrier stands between them.
DEVICE void hear_guide(const Call& c, Shared& s, int t) {
#pragma unroll
  for (int b = 0; b < B; b++) {
    const float* row = c.m.embed + (A + guided_to(c, b, t)) * R;
    for (int i = thread(); i < R; i += T) s.in[t & 1][b][i] = row[i];
  }
}

// The first block's input: the embedding of the class just drawn, or of what it leaned to. True where it did not come.
DEVICE bool receive_token(const Call& c, Shared& s, int t) {
  const int lane = thread() & 31;
  int drawn = 0;
  bool failed = false;
  if (lane < B) {
    if (t == 0) {
      drawn = c.m.last[lane];
    } else {
      Patience patience(c);
      const u64* box = c.m.token + (t & 1) * B + lane;
      u64 w = peek(box);
      while (!failed && (u32)(w >> 32) != c.start + t) {
        failed = patience.over();
        w = peek(box);
      }
      drawn = failed ? 0 : (int)(u32)w;
    }
  }
  if (warp_any(failed)) return true;
#pragma unroll
  for (int b = 0; b < B; b++) {
    const float* row = c.m.embed + broadcast(drawn, b) * R;
    float* in = s.in[t & 1][b];
    for (int i = thread(); i < WIDTH; i += T) in[i] = i < R ? (WN_GUIDED ? in[i] + row[i] : row[i]) : 0.0f;
  }
  return false;
}

DEVICE void layer(const Call& c, Shared& s, char* room) {
  typedef Matrix<2 * R / 16, R, WN_PLACE_CURRENT> Current;
  typedef Matrix<WIDTH / 16, R, WN_PLACE_OUTPUT> Output;
  typedef Matrix<2 * R / 16, R, WN_PLACE_PREVIOUS> Previous;
  enum { PER_LAYER = Current::QUADS + Output::QUADS + Previous::QUADS };
  const int me = block(), lane = thread() & 31, g = lane >> 2, b0 = 2 * (lane & 3);
  const bool staged = !linked(me - 1);
  Current current;
  Output output;
  Previous previous;
  const Quad* from = c.m.layers + (long long)me * PER_LAYER;
  current.load(from, room);
  output.load(from + Current::QUADS, room + Current::BYTES);
  previous.load(from + Current::QUADS + Output::QUADS, room + Current::BYTES + Output::BYTES);
  float bias[Output::EACH][2];
#pragma unroll
  for (int j = 0; j < Output::EACH; j++)
    for (int h = 0; h < 2; h++)
      bias[j][h] = Output::tile(j) * 16 < WIDTH ? c.m.output_bias[me * WIDTH + Output::tile(j) * 16 + 2 * g + h] : 0.0f;
  const int mask = c.m.dilation[me] - 1;
  u16* const ring = c.m.ring + (long long)c.m.ring_start[me] * R;
  const long long stream = c.m.slots * R;
  sync_block();

  for (int t = 0; t < c.count; t++) {
    const int turn = t & 1;
    u16* const slot = ring + (long long)((c.start + t) & mask) * R;
    // ahead of time: guide, conditioning and previous tap. Row g of a tile is a gate, row g + 8 the value it opens.
    if (WN_GUIDED && me == 0) hear_guide(c, s, t);
    float sum[Current::EACH][4];
    {
      Column<R> past;
      past.from_halves(slot, stream);
      const float* condition = c.condition + (long long)(t / c.hop) * B * ROWS + me * 2 * R;
#pragma unroll
      for (int j = 0; j < Current::EACH; j++) {
        const int channel = Current::tile(j) * 8 + g;
        const bool mine = Current::tile(j) < 2 * R / 16;
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const int b = b0 + (i & 1);
          sum[j][i] = mine && b < B ? condition[b * ROWS + (i >> 1) * R + channel] : 0.0f;
        }
        if (mine) previous.multiply_tile(j, past, sum[j]);
      }
    }
    // ---- from here on the sample waits for this block
    const bool failed = me == 0 ? receive_token(c, s, t) : receive(c, s, t);
    sync_warp();  // its lanes may have waited for different times, and the matrix unit wants them together
    if (staged && sync_block_or(failed)) {
      if (thread() == 0) raise(c.m.error, STUCK_LAYER);
      return;
    }
    Column<R> x;
    x.from_floats(&s.in[turn][0][0], IN_ROW);
#pragma unroll
    for (int j = 0; j < Current::EACH; j++) {
      if (Current::tile(j) >= 2 * R / 16) continue;
      current.multiply_tile(j, x, sum[j]);
      const int channel = Current::tile(j) * 8 + g;
#pragma unroll
      for (int i = 0; i < 2; i++)
        if (b0 + i < B)
          s.halves[b0 + i][channel] =
              to_half((0.5f + 0.5f * fast_tanh(0.5f * sum[j][i])) * fast_tanh(sum[j][2 + i]));
    }
    if (sync_block_or(failed)) {
      if (thread() == 0) raise(c.m.error, STUCK_LAYER);
      return;
    }
    Column<R> z;
    z.from_halves(&s.halves[0][0], HALF_ROW);
#pragma unroll
    for (int j = 0; j < Output::EACH; j++) {
      if (Output::tile(j) >= WIDTH / 16) continue;
      float out[4] = {bias[j][0], bias[j][0], bias[j][1], bias[j][1]};
      output.multiply_tile(j, z, out);
      const int row = Output::tile(j) * 16 + 2 * g;  // rows g and g + 8 of the tile are neighbours
#pragma unroll
      for (int i = 0; i < 2; i++)
        if (b0 + i < B) {
          const float* in = &s.in[turn][b0 + i][row];
          send(c, s, t, b0 + i, row, in[0] + out[i], in[1] + out[2 + i]);
        }
    }
    // ---- and here it is gone
    for (int i = thread(); i < B * R / 2; i += T) {
      const float* in = &s.in[turn][i / (R / 2)][2 * (i % (R / 2))];
      *(u32*)(slot + (i / (R / 2)) * stream + 2 * (i % (R / 2))) = pack_halves(in[0], in[1]);
    }
    sync_block();
  }
}

// Inverse-CDF sampling by one warp: how many classes' cumulated probability does not pass the uniform number.
DEVICE int draw(const float* logits, float uniform, float temperature) {
  const int lane = thread() & 31;
  float p[PER], most = -3e38f;
#pragma unroll
  for (int i = 0; i < PER; i++) {
    p[i] = PER * lane + i < A ? logits[PER * lane + i] : -1e30f;
    most = fmaxf(most, p[i]);
  }
  const int bits = as_int(most), ordered = warp_max(bits ^ ((bits >> 31) & 0x7fffffff));
  most = as_float(ordered ^ ((ordered >> 31) & 0x7fffffff));
  const float sharp = 1.0f / fmaxf(temperature, 1e-3f);
  float own = 0.0f;
#pragma unroll
  for (int i = 0; i < PER; i++) own += p[i] = fast_exp((p[i] - most) * sharp);
  float upto = own;
#pragma unroll
  for (int d = 1; d < 32; d *= 2) {
    const float below = from_below(upto, d);
    if (lane >= d) upto += below;
  }
  const float level = uniform * broadcast(upto, 31);
  float total = upto - own;
  int passed = 0;
#pragma unroll
  for (int i = 0; i < PER; i++) {
    total += p[i];
    passed += PER * lane + i < WN_CLASSES && total <= level;
  }
  passed = warp_sum(passed);
  return passed < 1 ? 1 : passed < WN_CLASSES ? passed : WN_CLASSES - 1;
}

DEVICE int forced_or(const Call& c, long long at, int drawn) {
  return c.forced ? min(max(c.forced[at], 0), WN_CLASSES - 1) : drawn;
}

// Rows of `leaned` for the streams that this warp draws, two classes a word, spread over its lanes: fetched while the
// sample is elsewhere, so that the draw waits for a shuffle and not for the table in L2.
struct Leaning {
  enum { EACH = (B + W - 1) / W, WORDS = A / 2, STEPS = (WORDS + 31) / 32 };
  u32 held[EACH][STEPS];

  DEVICE void fetch(const Call& c, int t) {
    const int lane = thread() & 31;
#pragma unroll
    for (int j = 0; j < EACH; j++) {
      const int b = (thread() >> 5) + j * W;
      if (b >= B) continue;
      const u32* row = (const u32*)(c.m.leaned + guided_to(c, b, t) * A);
#pragma unroll
      for (int i = 0; i < STEPS; i++)
        if (32 * i + lane < WORDS) held[j][i] = row[32 * i + lane];
    }
  }
  // All lanes ask for the same class. Masks, because an index would put the words into local memory.
  DEVICE int of(int b, int drawn) const {
    u32 word = 0;
#pragma unroll
    for (int j = 0; j < EACH; j++)
#pragma unroll
      for (int i = 0; i < STEPS; i++) word |= held[j][i] & (0u - (u32)((EACH == 1 || b / W == j) && drawn / 64 == i));
    return broadcast((int)word, drawn / 2 % 32) >> 16 * (drawn & 1) & 0xffff;
  }
};

DEVICE void head(const Call& c, Shared& s, char* room) {
  typedef Matrix<S / 16, S, WN_PLACE_HEAD> Head;
  typedef Matrix<A / 16, S, WN_PLACE_CLASSIFY> Classify;
  const int me = block(), lane = thread() & 31, g = lane >> 2, b0 = 2 * (lane & 3);
  const bool staged = !linked(me - 1);
  Head first;
  Classify second;
  first.load(c.m.head, room);
  second.load(c.m.head + Head::QUADS, room + Head::BYTES);
  float bias[Classify::EACH][2];
#pragma unroll
  for (int j = 0; j < Classify::EACH; j++)
    for (int h = 0; h < 2; h++)
      bias[j][h] = Classify::tile(j) * 16 < A ? c.m.classify_bias[Classify::tile(j) * 16 + 2 * g + h] : 0.0f;
  sync_block();

  for (int t = 0; t < c.count; t++) {
    const int turn = t & 1;
    Leaning leaning;
    if (WN_GUIDED) leaning.fetch(c, t);
    const float uniform = lane < B ? c.noise[(long long)lane * c.count + t] : 0.0f;
    const float temperature = lane < B ? c.temperature[lane] : 1.0f;
    const float* condition = c.condition + (long long)(t / c.hop) * B * ROWS + L * 2 * R;
    float sum[Head::EACH][4];
#pragma unroll
    for (int j = 0; j < Head::EACH; j++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int b = b0 + (i & 1);
        sum[j][i] = Head::tile(j) < S / 16 && b < B ? condition[b * ROWS + Head::tile(j) * 16 + 2 * g + (i >> 1)] : 0.0f;
      }
    const bool failed = receive(c, s, t);
    sync_warp();
    if (staged && sync_block_or(failed)) {
      if (thread() == 0) raise(c.m.error, STUCK_HEAD);
      return;
    }
    Column<S> x;
    x.from_floats(&s.in[turn][0][R], IN_ROW, true);
#pragma unroll
    for (int j = 0; j < Head::EACH; j++) {
      if (Head::tile(j) >= S / 16) continue;
      first.multiply_tile(j, x, sum[j]);
#pragma unroll
      for (int i = 0; i < 2; i++)
        if (b0 + i < B)
          *(u32*)&s.halves[b0 + i][Head::tile(j) * 16 + 2 * g] = pack_halves(
              fminf(fmaxf(sum[j][i], 0.0f), 65504.0f), fminf(fmaxf(sum[j][2 + i], 0.0f), 65504.0f));
    }
    if (sync_block_or(failed)) {
      if (thread() == 0) raise(c.m.error, STUCK_HEAD);
      return;
    }
    Column<S> y;
    y.from_halves(&s.halves[0][0], HALF_ROW);
#pragma unroll
    for (int j = 0; j < Classify::EACH; j++) {
      if (Classify::tile(j) >= A / 16) continue;
      float out[4] = {bias[j][0], bias[j][0], bias[j][1], bias[j][1]};
      second.multiply_tile(j, y, out);
#pragma unroll
      for (int i = 0; i < 4; i++)
        if (b0 + (i & 1) < B) s.logits[b0 + (i & 1)][Classify::tile(j) * 16 + 2 * g + (i >> 1)] = out[i];
    }
    sync_block();
    for (int b = thread() >> 5; b < B; b += W) {
      const int drawn = draw(s.logits[b], broadcast(uniform, b), broadcast(temperature, b));
      const long long at = (long long)b * c.count + t;
      int next = drawn;
      if (WN_GUIDED) next = leaning.of(b, forced_or(c, at, drawn));  // takes all lanes
      if (lane == 0) {
        if (!WN_GUIDED) next = forced_or(c, at, drawn);
        if (t + 1 < c.count)
          post(c.m.token + ((t + 1) & 1) * B + b, (u32)next, c.start + t + 1);
        else
          c.m.last[b] = next;
        c.classes[at] = drawn;
        c.audio[at] = c.m.audio[drawn];
      }
      if (c.logits)
        for (int i = lane; i < WN_CLASSES; i += 32) c.logits[at * WN_CLASSES + i] = s.logits[b][i];
    }
  }
}

// One by one, because parameters lie in constant memory and a struct behind a pointer would take registers.
#define WN_MODEL                                                                                               \
  const Quad *layers, const Quad *head_weights, const float *embed, const u16 *leaned,                         \
      const float *output_bias, const float *classify_bias, const float *audio_of, const int *dilation,         \
      const int *ring_start, u16 *ring, int *last, u64 *mail, u64 *token, u32 *error, long long slots

KERNEL RESIDENT(32 * WN_WARPS) void wn_run(WN_MODEL, const float* condition, const float* noise,
                                           const float* temperature, const int* forced, const int* guide,
                                           float* audio, int* classes, float* logits, u32 start, int count, int hop,
                                           u64 patience_ns) {
  const Model m = {layers, head_weights, embed, leaned, output_bias, classify_bias, audio_of, dilation,
                   ring_start, ring, last, mail, token, error, slots};
  const Call c = {m, condition, noise, temperature, forced, guide, audio, classes, logits,
                  start, count, hop, patience_ns};
  char* memory = shared_memory();
  Shared& s = *(Shared*)memory;
  if (thread() == 0) {
    for (int i = 0; i < 2; i++) bell_init(&s.bell[i]);
    bells_ready();
    for (int i = 0; i < 2; i++) bell_arm(&s.bell[i], B * WIDTH * sizeof(float));
  }
  sync_block();
  sync_cluster();  // nobody rings before the bells hang
  if (block() < L)
    layer(c, s, memory + SHARED_HEAD);
  else if (block() == L)
    head(c, s, memory + SHARED_HEAD);
  sync_cluster();  // nobody leaves while a neighbour may still write to its shared memory
  if (WN_CLUSTER > 1 && raised(m.error)) rest();
}

// Latent frames -> what every layer adds before its gates: [frames][B][ROWS]. One thread a row.
KERNEL void wn_condition(const float* weight, const float* bias, const float* latent, float* condition, int latents,
                         int frames) {
  const int i = grid_thread(), row = i % ROWS, b = i / ROWS % B, frame = i / ROWS / B;
  if (frame >= frames) return;
  float sum = bias[row];
  for (int d = 0; d < latents; d++)  // weight [D][ROWS]: neighbours read neighbours
    sum += weight[(long long)d * ROWS + row] * latent[((long long)b * latents + d) * frames + frame];
  condition[i] = sum;
}

// One stream, or with -1 all: empty rings, silence as the last class.
KERNEL void wn_reset(u16* ring, int* last, long long slots, int stream, int threads) {
  for (int b = 0; b < B; b++) {
    if (stream >= 0 && b != stream) continue;
    u32* own = (u32*)(ring + b * slots * R);
    for (long long i = grid_thread(); i < slots * R / 2; i += threads) own[i] = 0;
    if (grid_thread() == 0) last[b] = WN_CLASSES / 2;
  }
}
