// The list from which the user chooses a microphone.

import { chooseMicrophone, listMicrophones } from "./microphone.js";

/**
 * Fill the list, now and whenever a device is plugged in or out, and open what is chosen from then on.
 * @param {HTMLSelectElement} list
 */
export function offerMicrophones(list) {
  list.onchange = () => chooseMicrophone(list.value);
  navigator.mediaDevices?.addEventListener?.("devicechange", () => showMicrophones(list));
  showMicrophones(list);
}

/**
 * Show the microphones that the machine has now; the first option is the one that the browser prefers.
 * @param {HTMLSelectElement} list
 */
export async function showMicrophones(list) {
  const microphones = await listMicrophones().catch(() => []); // without them, the preferred one remains
  const chosen = list.value;
  const options = microphones.map(({ deviceId, label }, index) => new Option(label || `Microphone ${index + 1}`, deviceId));
  list.replaceChildren(new Option("Preferred by the browser", ""), ...options);
  list.value = microphones.some(({ deviceId }) => deviceId === chosen) ? chosen : "";
  chooseMicrophone(list.value);
}
