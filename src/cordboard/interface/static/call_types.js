// Types that the parts of a call share. There is no code here.

/**
 * @import { ProblemDetails } from "./api.js"
 *
 * @typedef {"clicked" | "microphone" | "joined" | "running" | "answered" | "connected" | "first_audio"} Stage
 * @typedef {"microphone" | "joining" | "waiting" | "connecting" | "connected" | "interrupted" | "lost" | "leaving"} CallState
 * @typedef {"connection" | "silence"} Topic what a note is about, so that only its own end removes it
 * @typedef {"bad" | "info"} Tone
 *
 * @typedef {object} NoteOptions
 * @property {string} [advice] what the user can do
 * @property {Tone} [tone] "bad" unless given
 * @property {Topic} [topic]
 *
 * @typedef {object} EndDetails
 * @property {string} title what the user reads, or "" if the user ended the call
 * @property {string} advice what the user can do, or ""
 * @property {string} [code] code of the error that ended the call
 * @property {string | null} [reason] reason of the session's end
 * @property {Tone} [tone] "bad" unless given
 *
 * @typedef {EndDetails & ProblemDetails} CallEnd
 *
 * @typedef {object} CallView what shows a call to the user
 * @property {(state: CallState) => void} state
 * @property {(stage: Stage, ms: number) => void} stage receives each stage with its time since the click
 * @property {(text: string, options: NoteOptions) => void} note shows a note, or removes it if text is ""
 * @property {(end: CallEnd & { tone: Tone, joined: boolean, ran: boolean }) => void} ended called once; ran: whether a bot has run
 */

export {};
