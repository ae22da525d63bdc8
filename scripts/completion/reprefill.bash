# bash completion of `reprefill`:  source scripts/completion/reprefill.bash
# Verbs and options are read from the program's own --help, so that this file lists none and cannot fall behind.

# The lines of a section of --help ("Subcommands:", "Options:"), up to the next empty line.
_reprefill_section() {
  sed -n "/^$1:\$/,/^\$/p" | tail -n +2
}

_reprefill_verbs() { _reprefill_section Subcommands | sed -n 's/^  \([a-z][a-z-]*\) .*/\1/p'; }
_reprefill_options() { _reprefill_section Options | grep -oE '^ +(-[a-z],)?--[a-z][a-z-]*' | grep -oE -- '--[a-z-]+'; }

_reprefill_files() {  # by extension, and folders to go on into
  compopt -o filenames
  local extension
  for extension in "$@"; do
    mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -X "!*.$extension" -- "$word")
  done
  _reprefill_folders
}
_reprefill_folders() {
  compopt -o filenames
  mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -d -- "$word")
}
_reprefill_figures() { "$program" figures --list 2>/dev/null; }
_reprefill_systems() { "$program" systems --json 2>/dev/null | sed -n 's/^      "name": "\([a-z0-9_]*\)",$/\1/p'; }
_reprefill_words() { mapfile -t COMPREPLY < <(compgen -W "$*" -- "$word"); }

_reprefill() {
  local program=${COMP_WORDS[0]} word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  local verbs=() index help
  program=${program/#\~/$HOME}
  COMPREPLY=()
  # The verb and, for `trace` and `profile`, what it should do: the words before the cursor that --help knows as such.
  help=$("$program" --help 2>/dev/null) || return 0
  for ((index = 1; index < COMP_CWORD; index++)); do
    if grep -qxF -- "${COMP_WORDS[index]}" < <(_reprefill_verbs <<<"$help"); then
      verbs+=("${COMP_WORDS[index]}")
      help=$("$program" "${verbs[@]}" --help 2>/dev/null) || return 0
    fi
  done

  case "$previous" in
    --out)
      if [[ ${verbs[*]} == trace* ]]; then _reprefill_files jsonl
      elif [[ ${verbs[*]} == report ]]; then _reprefill_files html
      else _reprefill_folders; fi
      return ;;
    --timeline) if [[ ${verbs[*]} == simulate || ${verbs[*]} == run ]]; then _reprefill_files json; fi; return ;;
    --plugin) _reprefill_files so; return ;;
    --store | --model | --work) _reprefill_folders; return ;;
    --reported) _reprefill_files csv; return ;;
    --doc) _reprefill_files md; return ;;
    --profile) _reprefill_words "$("$program" profile list 2>/dev/null)"; _reprefill_folders; return ;;
    --workload) _reprefill_files json; return ;;
    --by) _reprefill_words automatic request point; return ;;
    --objective) _reprefill_words mean p95 p99_ttft; return ;;
    --importance) _reprefill_files rimp; return ;;
    --task | --requests | --prefixes) _reprefill_files jsonl; return ;;
    --tokenizer | --json-file | --assumptions) _reprefill_files json; return ;;
    --prompt-file | --text | --selections | --record-importance)
      compopt -o filenames
      mapfile -t COMPREPLY < <(compgen -f -- "$word")
      return ;;
    --system | --systems | --over) _reprefill_words "$(_reprefill_systems)"; return ;;
    --path) _reprefill_words direct prototype; return ;;
    --record-mode) _reprefill_words as_run full; return ;;
    --scoring) _reprefill_words first_token log_likelihood generate; return ;;
    --kv-dtype) _reprefill_words bf16 fp32; return ;;
    --prompt | --path-set | --in-flight | --max-tokens | --threads | --limit | --budgets | --layouts | --tokens | \
      --store-block-tokens | --timeline-requests | --set | --jobs | --point | --request | --shard | --new | --policies | --sizes | --x | --seed | --preset | --samples | --layers | --kv-heads | --prefix-tokens | \
      --num-requests | --requests-per-s | --repeats | --range-replicas | --tolerance | --metric | --margin | --trials | \
      --min-attention-mass | --host-memory) return ;;
  esac
  if [[ $word == -* ]]; then
    _reprefill_words "$(_reprefill_options <<<"$help")"
    return
  fi
  case "${verbs[*]}" in
    simulate | sweep | check | explain | tornado | miss-ratio | compare) _reprefill_files json ;;
    plot | report | merge | diff) _reprefill_folders ;;
    "trace stats") _reprefill_files jsonl ;;
    "profile show") _reprefill_words "$("$program" profile list 2>/dev/null)"; _reprefill_folders ;;
    figures) _reprefill_words "$(_reprefill_figures)" ;;
    systems) _reprefill_words "$(_reprefill_systems)" ;;
    *) _reprefill_words "$(_reprefill_verbs <<<"$help")" ;;
  esac
}
complete -F _reprefill reprefill reprefill-mpi
