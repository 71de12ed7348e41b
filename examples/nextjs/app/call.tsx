"use client";

import type { PipecatClient } from "@pipecat-ai/client-js";
import { getClientLogger, watchAllPeerConnections } from "cordboard";
import { SessionProvider, useSession } from "cordboard/react";
import { useEffect, useState } from "react";

const log = getClientLogger("call");
const OPTIONS = { url: "/api/logs" };

// The libraries of Pipecat need a browser, so they are loaded there.
async function newClient(onState: (state: string) => void): Promise<PipecatClient> {
  const [{ PipecatClient: Client }, { SmallWebRTCTransport, WavMediaManager }] = await Promise.all([
    import("@pipecat-ai/client-js"),
    import("@pipecat-ai/small-webrtc-transport"),
  ]);
  const speaker = new Audio();
  speaker.autoplay = true;
  return new Client({
    transport: new SmallWebRTCTransport({ mediaManager: new WavMediaManager() }),
    enableMic: true,
    callbacks: {
      onTransportStateChanged: onState,
      onTrackStarted: (track, participant) => {
        if (track.kind === "audio" && !participant?.local) speaker.srcObject = new MediaStream([track]);
      },
      // Without its text, which may repeat what was said in the call.
      onError: ({ type }) => log.error("The client failed", { type }),
    },
  });
}

export function Call() {
  const [client, setClient] = useState<PipecatClient | null>(null);
  const [state, setState] = useState("loading");
  useEffect(() => {
    watchAllPeerConnections(); // before the client opens one
    log.info("Page opened", { event: "page.opened" });
    newClient(setState).then((made) => {
      setClient(made);
      setState("ready to join");
    });
  }, []);
  return (
    <SessionProvider client={client} options={OPTIONS}>
      <Buttons client={client} state={state} />
    </SessionProvider>
  );
}

function Buttons({ client, state }: { client: PipecatClient | null; state: string }) {
  const { sessionId } = useSession();

  async function join() {
    log.info("Join clicked", { event: "join.clicked" });
    try {
      await client?.startBotAndConnect({ endpoint: "/api/start", requestData: { transport: "webrtc" } });
    } catch (error) {
      log.error("The call failed", { error });
    }
  }

  return (
    <>
      <button id="join" disabled={!client} onClick={join}>Join</button>
      <button id="leave" disabled={!client} onClick={() => client?.disconnect()}>Leave</button>
      <p>
        <output id="state">{state}</output>
      </p>
      <p>
        Session <code id="session">{sessionId}</code>
      </p>
    </>
  );
}
