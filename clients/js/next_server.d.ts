// What this package uses of Next.js, which is not installed where the package is built.
declare module "next/server.js" {
  export class NextResponse extends Response {
    static next(init?: { request?: { headers?: Headers } }): NextResponse;
  }
}
