#!/usr/bin/env node
// Ids of awkward texts by Hugging Face's own tokenizers library (its Rust code, as the npm package `tokenizers`).
//
//   npm install --prefix /tmp/npm tokenizers
//   NODE_PATH=/tmp/npm/node_modules node tests/golden/make_tokenizer_golden.js PATH/tokenizer.json >
//     tests/golden/tokenizer_qwen2.5.jsonl
//
// Made with tokenizers 0.23.2. `--codepoints` writes instead one line for each block of 64 code points that Unicode has
// assigned anything in, for a comparison over all of Unicode (too large to commit).
const {Tokenizer} = require('tokenizers');

/** Mulberry32: the same texts on every machine. */
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const HAND_MADE = [
  '', ' ', '  ', '\n', '\r\n', '\n\n\n', ' \n', '\n ', '\t\t x', 'a', 'A b', 'don\'t', 'DON\'T WE\'LL I\'D', 'it\u2019s',
  '\'S \'T \'ſ ſ\'s', 'x\'re\'ve\'m\'ll\'d\'z', '1', '12', '1234567890', '3.14', '1,000,000', '٣٤٥', '½ ⅷ Ⅷ ²', 'e\u0301', 'é', 'ﬁ',
  'Å Å A\u030a', '\u1e9b\u0323', 'q\u0307\u0323', '가 각 \u1100\u1161\u11a8', 'ｆｕｌｌ　ｗｉｄｔｈ', '中文字符，没有空格。', '日本語のテキスト', 'ภาษาไทย',
  'हिन्दी', 'עִבְרִית', 'العربية', '👩‍👩‍👧‍👦', '🇩🇪🇫🇷', '❤️', '🏳️‍🌈', '😀😀😀', 'a\u200db', 'a\u200bb', '\ufeffBOM', 'x\u00a0y', 'x\u3000y',
  '\u180e x', 'x\u0085y', '\u2028line\u2029paragraph', '\u0000', 'a\u0000b', '\u0001\u0002\u001f', '\u007f', '\u009f', '\ud7ff', '\ue000 private',
  '\ufffd', '\u{10ffff}', '\u{f0000}', '\u0378 unassigned', '<|im_start|>user\nhi<|im_end|>', '<|endoftext|><|endoftext|>', '<|im_start|',
  'x<tool_call>y</tool_call>z', '<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>', ' <|im_end|> ', '<<|im_end|>>', '<|IM_END|>',
  'for (int i = 0; i < n; ++i) {\n\tsum += a[i];\n}\n', 'def f(x):\n    return x ** 2  # square\n\n\n', 'SELECT * FROM t WHERE a<>b;',
  '#include <vector>\r\nint main() { return 0; }\r\n', '{"key": [1, 2, {"a": null}]}', 'https://example.org/a?b=c&d=%20#e', 'user@example.org',
  'C:\\Users\\x\\', '!!!???...', '--- *** ___', '   trailing   ', 'a  b   c    d', 'tab\tand\t\ttabs', 'x\n  y\n    z', '"quoted"', '(parens)[brackets]{braces}',
  'naïve café résumé', 'Straße ẞ', 'İstanbul ıI', 'ΑΒΓ αβγς', 'Привет, мир!', 'a\u0300\u0301\u0302\u0303', '\u0301start', 'z\u0324\u0308\u0302',
];

const ALPHABETS = [
  'abcdefghijklmnopqrstuvwxyz      ', 'ABC abc 123 .,;:!?\'"-\n\t', ' \t\n\r\u00a0\u2003\u3000\u0085', '\'sStTrReEvVmMlLdD ſ',
  'éèêëàáâäöüßñçøåæœ ', 'e\u0301a\u0300o\u0308\u0323\u0327 n\u0303', '的一是不了人我在有他这中大来上国。，', 'あいうえおアイウエオ漢字ー。', '한국어가나다라마바사 ',
  'абвгдежзиклмнопрст ', 'ابتثجحخدذرز ', 'अआइईउऊकखग्ािी', '😀👍🏽❤️‍🔥👩\u200d💻🇺🇸', '0123456789٠١٢٣٤५६७Ⅷ½²', '(){}[]<>=+-*/%&|^~!;:,.#@$_\\ \n',
];

function pick(next, alphabet) {
  const characters = Array.from(alphabet);
  return characters[Math.floor(next() * characters.length)];
}

function texts() {
  const next = random(20261123);
  const all = [...HAND_MADE];
  for (const alphabet of ALPHABETS) {
    for (let i = 0; i < 12; ++i) {
      let text = '';
      for (let length = 1 + Math.floor(next() * 60); length > 0; --length) text += pick(next, alphabet);
      all.push(text);
    }
  }
  for (let i = 0; i < 100; ++i) {
    let text = '';
    for (let length = 1 + Math.floor(next() * 80); length > 0; --length) text += pick(next, ALPHABETS[Math.floor(next() * ALPHABETS.length)]);
    all.push(text);
  }
  for (const unit of ['a', ' ', '\n', '中', '!', 'ab ', '\u0301', '😀', '1', '\'s']) all.push(unit.repeat(2000));
  return all;
}

/** Every scalar value, 64 to a text, with neighbours that show how it is split. */
function codePointTexts() {
  const all = [];
  for (let first = 0; first < 0x110000; first += 64) {
    if (first >= 0xd800 && first < 0xe000) continue;
    let text = '';
    for (let i = 0; i < 64; ++i) text += 'a' + String.fromCodePoint(first + i) + '1 ';
    all.push(text);
  }
  return all;
}

async function main() {
  const tokenizer = Tokenizer.fromFile(process.argv[2]);
  const all = process.argv.includes('--codepoints') ? codePointTexts() : texts();
  for (const text of all) {
    const encoding = await tokenizer.encode(text, null, {addSpecialTokens: false});
    console.log(JSON.stringify({text, ids: encoding.getIds()}));
  }
}
main();
